/* The recorder inside the kernel: one record at each exit of a system call of the observed process tree.
 *
 * Only exits are hooked: a second hook at the entry costs 55 ns on every call of the machine. What an exit can't tell
 * comes from elsewhere: exec's path and arguments from sched_process_exec, exit and exit_group from
 * sched_process_exit, the description that close took away from the records before it (observe/lineage.py).
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "peephole/abi_record.h"

#define S_IFMT_SHIFT 12
#define TS_COMPAT 0x0002
#define MAP_ANONYMOUS 0x20
#define SIGNAL_GROUP_EXIT 0x00000004
#define EXE_NAMES_MAX 40
#define ARGS_SLOTS 8	/* six, rounded up so that a mask bounds an index */

enum { NR_MMAP = 9, NR_CLONE = 56, NR_FORK = 57, NR_VFORK = 58, NR_EXECVE = 59, NR_EXIT = 60, NR_PRCTL = 157,
       NR_EXIT_GROUP = 231, NR_SIGNALFD = 282, NR_SIGNALFD4 = 289, NR_EXECVEAT = 322, NR_CLONE3 = 435 };
enum { NR32_FORK = 2, NR32_EXECVE = 11, NR32_CLONE = 120, NR32_VFORK = 190, NR32_EXECVEAT = 358 };

char LICENSE[] SEC("license") = "GPL";

/* Set before load. */
const volatile __u32 shapes[PH_NR_MAX];
const volatile __u64 cookie;	/* the command says prctl(cookie, cookie) just before its exec */

/* Which image a thread runs: 0 is not observed. Indexed by tid, so one load decides for a bystander. */
__u32 image_of[PH_TID_MAX];
__u32 images;
__u32 started;	/* the command's own exec was seen */
struct ph_cpu_count counts[PH_CPUS_MAX];

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 << 20);
} calls SEC(".maps");

/* Apart from the calls, so that a burst of them never costs a process. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} events SEC(".maps");

struct call_scratch {
	struct ph_call call;
	char paths[3 * PH_PATH_BYTES];
};

struct event_scratch {
	struct ph_event event;
	char bytes[2 * (PH_PATH_BYTES + PH_EXE_BYTES + PH_ARGV_BYTES)];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct call_scratch);
} call_scratches SEC(".maps");

/* An array shared by all CPUs would race; a per-CPU value is limited to 32 KiB, hence one slot a CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PH_CPUS_MAX);
	__type(key, __u32);
	__type(value, struct event_scratch);
} event_scratches SEC(".maps");

static __always_inline struct ph_cpu_count *count_of(__u32 cpu)
{
	return &counts[cpu & (PH_CPUS_MAX - 1)];
}

/* A kernel pointer made readable by plain loads (Linux 6.2): each helper call it saves is 25 ns. */
extern void *bpf_rdonly_cast(void *obj, __u32 btf_id) __ksym __weak;

static __always_inline struct file *file_of(struct task_struct *task, __u32 fd)
{
	struct fdtable *fdt = task->files->fdt;
	struct file *file = NULL;

	if (!fdt || fd >= fdt->max_fds)
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), fdt->fd + fd);
	return file;
}

/* new_encode_dev(): the bits as stat() shows them */
static __always_inline __u32 encode_dev(__u32 dev)
{
	__u32 major = dev >> 20, minor = dev & 0xfffff;

	return (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12);
}

static __always_inline void read_file(struct ph_call *call, struct file *file)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);

	call->offset = BPF_CORE_READ(file, f_pos);
	call->ino = BPF_CORE_READ(inode, i_ino);
	call->ftype = BPF_CORE_READ(inode, i_mode) >> S_IFMT_SHIFT;
	call->size = BPF_CORE_READ(inode, i_size);
	call->dev = encode_dev(BPF_CORE_READ(inode, i_sb, s_dev));
}

static __always_inline void fill_file(struct ph_call *call, struct file *file, __s32 fd)
{
	call->file = (__u64)file;
	call->fd = fd;
	call->reserved = 0;
	if (bpf_rdonly_cast) {
		struct file *open = bpf_rdonly_cast(file, bpf_core_type_id_kernel(struct file));
		struct inode *inode = open->f_inode;

		call->offset = open->f_pos;
		call->ino = inode->i_ino;
		call->ftype = inode->i_mode >> S_IFMT_SHIFT;
		call->size = inode->i_size;
		call->dev = encode_dev(inode->i_sb->s_dev);
	} else {
		read_file(call, file);
	}
}

static __always_inline void clear_file(struct ph_call *call)
{
	call->file = 0;
	call->offset = 0;
	call->ino = 0;
	call->size = 0;
	call->fd = -1;
	call->reserved = 0;
}

struct input {
	struct task_struct *task;
	__u32 image;
	long nr;
	long ret;
	__u64 ip;
	__u64 args[ARGS_SLOTS];
	__s32 fd;
	__u8 flags;
};

static __always_inline void fill_call(struct ph_call *call, const struct input *in, __u32 cpu, __u32 seq)
{
	call->exit_ns = bpf_ktime_get_ns();
	call->seq = seq;
	call->cpu = cpu;
	call->flags = in->flags;
	call->ftype = 0;
	call->tid = in->task->pid;
	call->pid = in->task->tgid;
	call->image = in->image;
	call->nr = in->nr;
	call->path_len = 0;
	call->path2_len = 0;
	call->dev = 0;
	call->ret = in->ret;
	call->ip = in->ip;
	call->args[0] = in->args[0];
	call->args[1] = in->args[1];
	call->args[2] = in->args[2];
	call->args[3] = in->args[3];
	call->args[4] = in->args[4];
	call->args[5] = in->args[5];
}

/* An index, not a switch: the verifier walks every branch of every caller. */
static __always_inline __u64 arg_of(const struct input *in, __u32 number)
{
	return in->args[(number - 1) & (ARGS_SLOTS - 1)];
}

static __always_inline int emit_plain(const struct input *in)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct ph_cpu_count *count = count_of(cpu);
	__u32 seq = ++count->seq;
	struct ph_call *call = bpf_ringbuf_reserve(&calls, PH_CALL_BASE_BYTES, 0);

	if (!call) {
		count->lost++;
		return 0;
	}
	fill_call(call, in, cpu, seq);
	bpf_ringbuf_submit(call, BPF_RB_NO_WAKEUP);
	return 0;
}

static __always_inline int emit_file(const struct input *in, struct file *file)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct ph_cpu_count *count = count_of(cpu);
	__u32 seq = ++count->seq;
	struct ph_call *call = bpf_ringbuf_reserve(&calls, PH_CALL_BYTES, 0);

	if (!call) {
		count->lost++;
		return 0;
	}
	fill_call(call, in, cpu, seq);
	fill_file(call, file, in->fd);
	bpf_ringbuf_submit(call, BPF_RB_NO_WAKEUP);
	return 0;
}

static __noinline int emit_paths(struct input *in, struct file *file, __u32 shape)
{
	__u32 cpu = bpf_get_smp_processor_id(), zero = 0;
	struct ph_cpu_count *count = count_of(cpu);
	struct call_scratch *scratch = bpf_map_lookup_elem(&call_scratches, &zero);
	__u64 first = 0, second = 0;
	struct ph_call *call;

	if (!scratch || !in)
		return 0;
	call = &scratch->call;
	fill_call(call, in, cpu, ++count->seq);
	if (file)
		fill_file(call, file, in->fd);
	else
		clear_file(call);
	if (!(in->flags & PH_CALL_NO_ARGS)) {
		first = bpf_probe_read_user_str(scratch->paths, PH_PATH_BYTES,
						(void *)arg_of(in, PH_SHAPE_ARG(shape, 3)));
		if (first > PH_PATH_BYTES) {
			first = 0;
			count->paths_unread += in->ret >= 0;
		}
		if (PH_SHAPE_ARG(shape, 6)) {
			second = bpf_probe_read_user_str(scratch->paths + first, PH_PATH_BYTES,
							 (void *)arg_of(in, PH_SHAPE_ARG(shape, 6)));
			if (second > PH_PATH_BYTES) {
				second = 0;
				count->paths_unread += in->ret >= 0;
			}
		}
	}
	call->path_len = first;
	call->path2_len = second;
	if (bpf_ringbuf_output(&calls, scratch, PH_CALL_BYTES + first + second, BPF_RB_NO_WAKEUP))
		count->lost++;
	return 0;
}

/* pipe and socketpair make two descriptions; the record has room for one, so each gets an event. */
static __always_inline void note_opened(const struct input *in, struct file *file, __u32 fd)
{
	struct ph_event *event;

	if (!file)
		return;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		count_of(bpf_get_smp_processor_id())->events_lost++;
		return;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->ns = bpf_ktime_get_ns();
	event->file = (__u64)file;
	event->type = PH_EVENT_OPENED;
	event->image = in->image;
	event->status = fd;
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

/* The open file description that the call's result or descriptor names; what it can't tell stays NULL. */
static __always_inline struct file *call_file(struct input *in, __u32 shape)
{
	__u32 fd_arg = PH_SHAPE_ARG(shape, 0), pair_arg = PH_SHAPE_ARG(shape, 9);
	int pair[2];

	if (shape & PH_SHAPE_RETURNS && in->ret >= 0) {
		if (shape & PH_SHAPE_CREATES &&
		    !((in->nr == NR_SIGNALFD || in->nr == NR_SIGNALFD4) && (int)in->args[0] >= 0))
			in->flags |= PH_CALL_CREATED;
		in->fd = in->ret;
		return file_of(in->task, in->fd);
	}
	if (pair_arg) {
		if (in->ret < 0 || bpf_probe_read_user(pair, sizeof(pair), (void *)arg_of(in, pair_arg)))
			return NULL;
		note_opened(in, file_of(in->task, pair[0]), pair[0]);
		note_opened(in, file_of(in->task, pair[1]), pair[1]);
		in->fd = pair[0];
		return file_of(in->task, in->fd);
	}
	if (!fd_arg || (in->nr == NR_MMAP && in->args[3] & MAP_ANONYMOUS))
		return NULL;
	in->fd = arg_of(in, fd_arg);
	return file_of(in->task, in->fd);
}

/* In a new thread or process clone, fork and vfork exit without having been entered. */
static __always_inline bool is_child_return(const struct input *in)
{
	if (in->ret)
		return false;
	if (in->flags & PH_CALL_COMPAT)
		return in->nr == NR32_CLONE || in->nr == NR32_FORK || in->nr == NR32_VFORK || in->nr == NR_CLONE3;
	return in->nr == NR_CLONE || in->nr == NR_FORK || in->nr == NR_VFORK || in->nr == NR_CLONE3;
}

static __always_inline bool is_replaced(const struct input *in)
{
	if (in->nr == -1)	/* restore_sigcontext() leaves orig_ax so */
		return true;
	if (in->ret)
		return false;
	if (in->flags & PH_CALL_COMPAT)
		return in->nr == NR32_EXECVE || in->nr == NR32_EXECVEAT;
	return in->nr == NR_EXECVE || in->nr == NR_EXECVEAT;
}

static __always_inline int emit(struct input *in)
{
	struct file *file = NULL;
	__u32 shape;

	if (in->flags & (PH_CALL_COMPAT | PH_CALL_NO_ARGS))
		return emit_plain(in);
	shape = shapes[in->nr & (PH_NR_MAX - 1)];
	if (!shape || in->nr >= PH_NR_MAX)
		return emit_plain(in);
	if (!(shape & PH_SHAPE_CLOSES))
		file = call_file(in, shape);
	if (file)
		in->flags |= PH_CALL_FILE;
	if (PH_SHAPE_ARG(shape, 3))
		return emit_paths(in, file, shape);
	if (file)
		return emit_file(in, file);
	return emit_plain(in);
}

static __always_inline void read_args(struct input *in, const struct pt_regs *regs)
{
	if (in->flags & PH_CALL_COMPAT) {
		in->args[0] = (__u32)regs->bx;
		in->args[1] = (__u32)regs->cx;
		in->args[2] = (__u32)regs->dx;
		in->args[3] = (__u32)regs->si;
		in->args[4] = (__u32)regs->di;
		in->args[5] = (__u32)regs->bp;
		return;
	}
	in->args[0] = regs->di;
	in->args[1] = regs->si;
	in->args[2] = regs->dx;
	in->args[3] = regs->r10;
	in->args[4] = regs->r8;
	in->args[5] = regs->r9;
}

static __always_inline int on_exit(struct task_struct *task, __u32 image, const struct pt_regs *regs, long ret)
{
	struct input in = { .task = task, .image = image, .nr = (long)regs->orig_ax, .ret = ret, .ip = regs->ip };

	if (task->thread_info.status & TS_COMPAT)
		in.flags = PH_CALL_COMPAT;
	if (is_child_return(&in))
		return 0;
	if (is_replaced(&in))
		in.flags |= PH_CALL_NO_ARGS;
	else
		read_args(&in, regs);
	return emit(&in);
}

/* The command's mark starts the recording: right in every pid namespace, unlike a number. */
static __always_inline int on_bystander(__u32 tid, const struct pt_regs *regs)
{
	if (images || regs->orig_ax != NR_PRCTL || regs->di != cookie || regs->si != cookie)
		return 0;
	images = 1;
	image_of[tid & (PH_TID_MAX - 1)] = 1;
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(btf_sys_exit, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 tid = task->pid, image = image_of[tid & (PH_TID_MAX - 1)];

	if (!image)
		return on_bystander(tid, regs);
	return on_exit(task, image, regs, ret);
}

SEC("raw_tp/sys_exit")
int raw_sys_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 tid = task->pid, image = image_of[tid & (PH_TID_MAX - 1)];
	struct pt_regs regs;

	if (!image && images)
		return 0;
	if (bpf_probe_read_kernel(&regs, sizeof(regs), (void *)ctx->args[0]))
		return 0;
	if (!image)
		return on_bystander(tid, &regs);
	return on_exit(task, image, &regs, ctx->args[1]);
}

static __always_inline int on_fork(struct task_struct *parent, struct task_struct *child)
{
	__u32 image = image_of[BPF_CORE_READ(parent, pid) & (PH_TID_MAX - 1)];
	__u32 pid = BPF_CORE_READ(child, pid), tgid = BPF_CORE_READ(child, tgid), born;
	struct ph_event *event;

	if (!image)
		return 0;
	if (pid != tgid) {
		image_of[pid & (PH_TID_MAX - 1)] = image;
		return 0;
	}
	born = __sync_fetch_and_add(&images, 1) + 1;
	image_of[pid & (PH_TID_MAX - 1)] = born;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		count_of(bpf_get_smp_processor_id())->events_lost++;
		return 0;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->ns = bpf_ktime_get_ns();
	event->type = PH_EVENT_FORK;
	event->image = born;
	event->prev_image = image;
	event->pid = pid;
	event->tid = pid;
	event->ppid = BPF_CORE_READ(child, real_parent, tgid);
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(btf_fork, struct task_struct *parent, struct task_struct *child)
{
	return on_fork(parent, child);
}

SEC("raw_tp/sched_process_fork")
int raw_fork(struct bpf_raw_tracepoint_args *ctx)
{
	return on_fork((void *)ctx->args[0], (void *)ctx->args[1]);
}

struct walk {
	struct dentry *dentry;
	struct mount *mount;
	__u32 cpu;
	__u32 at;
	__u32 done;
};

/* One name of the path, or one step from a mount's root to where it is mounted; 1 ends the loop. */
static long walk_up(__u32 i, struct walk *walk)
{
	struct event_scratch *scratch = bpf_map_lookup_elem(&event_scratches, &walk->cpu);
	/* Out of our own struct first: BPF_CORE_READ would look for it in the kernel's types. */
	struct dentry *dentry = walk->dentry, *parent = BPF_CORE_READ(dentry, d_parent);
	struct mount *mount = walk->mount, *above;
	long n;

	if (!scratch)
		return 1;
	if (dentry == BPF_CORE_READ(mount, mnt.mnt_root) || dentry == parent) {
		above = BPF_CORE_READ(mount, mnt_parent);
		walk->done = above == mount;
		walk->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
		walk->mount = above;
		return walk->done;
	}
	if (walk->at > PH_PATH_BYTES + PH_EXE_BYTES - 256)
		return 1;
	n = bpf_probe_read_kernel_str(scratch->bytes + (walk->at & (PH_PATH_BYTES + PH_EXE_BYTES - 1)), 256,
				      BPF_CORE_READ(dentry, d_name.name));
	if (n < 0 || n > 256)
		return 1;
	walk->at += n;
	walk->dentry = parent;
	return 0;
}

/* The names of a file's path, last first, up to the root of the mount tree; how many bytes, 0 when it is too deep.
 * bpf_loop (Linux 5.17), since the verifier takes 200 ms for the loop written out. */
static __noinline __u32 read_exe(struct file *file, __u32 cpu, __u32 at)
{
	struct walk walk = { .cpu = cpu, .at = at };
	struct vfsmount *vfs = BPF_CORE_READ(file, f_path.mnt);

	walk.dentry = BPF_CORE_READ(file, f_path.dentry);
	walk.mount = container_of(vfs, struct mount, mnt);
	bpf_loop(EXE_NAMES_MAX, walk_up, &walk, 0);
	return walk.done ? walk.at - at : 0;
}

static __always_inline int on_exec(struct task_struct *task, __u32 old_tid, struct linux_binprm *bprm)
{
	__u32 tid = BPF_CORE_READ(task, pid), cpu = bpf_get_smp_processor_id();
	__u32 image = image_of[old_tid & (PH_TID_MAX - 1)], born = image, at;
	struct event_scratch *scratch;
	__u64 start, n;

	if (!image)
		return 0;
	scratch = bpf_map_lookup_elem(&event_scratches, &cpu);
	/* The first exec is the command's own: what ran before it was our launcher. */
	if (started)
		born = __sync_fetch_and_add(&images, 1) + 1;
	started = 1;
	image_of[tid & (PH_TID_MAX - 1)] = born;
	if (tid != old_tid)	/* a thread's exec takes the leader's number */
		image_of[old_tid & (PH_TID_MAX - 1)] = 0;
	if (!scratch)
		return 0;
	__builtin_memset(&scratch->event, 0, sizeof(scratch->event));
	scratch->event.ns = bpf_ktime_get_ns();
	scratch->event.type = PH_EVENT_EXEC;
	scratch->event.image = born;
	scratch->event.prev_image = image;
	scratch->event.pid = BPF_CORE_READ(task, tgid);
	scratch->event.tid = tid;
	scratch->event.ppid = BPF_CORE_READ(task, real_parent, tgid);
	n = bpf_probe_read_kernel_str(scratch->bytes, PH_PATH_BYTES, BPF_CORE_READ(bprm, filename));
	if (n > PH_PATH_BYTES)
		n = 0;
	scratch->event.name_len = n;
	at = n;
	at += scratch->event.exe_len = read_exe(BPF_CORE_READ(task, mm, exe_file), cpu, at);
	start = BPF_CORE_READ(task, mm, arg_start);
	n = BPF_CORE_READ(task, mm, arg_end) - start;
	scratch->event.argv_full = n;
	if (n > PH_ARGV_BYTES)
		n = PH_ARGV_BYTES;
	at &= 2 * PH_PATH_BYTES + 2 * PH_EXE_BYTES - 1;
	if (bpf_probe_read_user(scratch->bytes + at, n, (void *)start))
		n = 0;
	scratch->event.argv_len = n;
	if (bpf_ringbuf_output(&events, scratch, sizeof(scratch->event) + at + n, BPF_RB_NO_WAKEUP))
		count_of(cpu)->events_lost++;
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(btf_exec, struct task_struct *task, int old_tid, struct linux_binprm *bprm)
{
	return on_exec(task, old_tid, bprm);
}

SEC("raw_tp/sched_process_exec")
int raw_exec(struct bpf_raw_tracepoint_args *ctx)
{
	return on_exec((void *)ctx->args[0], ctx->args[1], (void *)ctx->args[2]);
}

/* exit and exit_group never come back: their record is made here, from the registers they were called with. */
static __always_inline void emit_exit_call(struct task_struct *task, __u32 image)
{
	struct input in = { .task = task, .image = image, .flags = PH_CALL_NO_RETURN };
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	in.nr = BPF_CORE_READ(regs, orig_ax);
	if (task->thread_info.status & TS_COMPAT) {
		if (in.nr != 1 && in.nr != 252)
			return;
		in.flags |= PH_CALL_COMPAT;
		in.args[0] = (__u32)BPF_CORE_READ(regs, bx);
	} else {
		if (in.nr != NR_EXIT && in.nr != NR_EXIT_GROUP)
			return;
		in.args[0] = BPF_CORE_READ(regs, di);
	}
	in.ip = BPF_CORE_READ(regs, ip);
	emit_plain(&in);
}

static __always_inline int on_task_exit(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 tid = task->pid, image = image_of[tid & (PH_TID_MAX - 1)];
	struct signal_struct *signal = task->signal;
	struct ph_event *event;

	if (!image)
		return 0;
	image_of[tid & (PH_TID_MAX - 1)] = 0;
	emit_exit_call(task, image);
	if (signal->live.counter != 0)
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		count_of(bpf_get_smp_processor_id())->events_lost++;
		return 0;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->ns = bpf_ktime_get_ns();
	event->type = PH_EVENT_EXIT;
	event->image = image;
	event->pid = task->tgid;
	event->tid = tid;
	event->status = signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code : task->group_leader->exit_code;
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(btf_exit)
{
	return on_task_exit();
}

SEC("raw_tp/sched_process_exit")
int raw_exit(struct bpf_raw_tracepoint_args *ctx)
{
	return on_task_exit();
}

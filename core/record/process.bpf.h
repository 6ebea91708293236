/* Births, execs and ends of observed processes, and processes that are joined while they run. */
#ifndef PH_RECORD_PROCESS_BPF_H
#define PH_RECORD_PROCESS_BPF_H

#include "call.bpf.h"

#define SIGNAL_GROUP_EXIT 0x00000004
#define EXE_NAMES_MAX 40

struct event_scratch {
	struct ph_event event;
	char bytes[2 * (PH_PATH_BYTES + PH_EXE_BYTES + PH_ARGV_BYTES)];
};

/* An array shared by all CPUs would race; a per-CPU value is limited to 32 KiB, hence one slot a CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PH_CPUS_MAX);
	__type(key, __u32);
	__type(value, struct event_scratch);
} event_scratches SEC(".maps");

/* Processes to join, by their number in the recorder's own pid namespace; the value becomes 1 when found. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);	/* set before load */
	__type(key, __u32);
	__type(value, __u32);
} wanted SEC(".maps");

/* The image of a joined process, by its global number. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);	/* set before load */
	__type(key, __u32);
	__type(value, __u32);
} joined SEC(".maps");

const volatile __u32 own_ns;	/* inode of the recorder's pid namespace */

static __always_inline int on_fork(struct task_struct *parent, struct task_struct *child)
{
	__u32 image = *place_of(BPF_CORE_READ(parent, pid)) & ~ASLEEP;
	__u32 pid = BPF_CORE_READ(child, pid), tgid = BPF_CORE_READ(child, tgid), born;
	struct ph_event *event;

	if (!image)
		return 0;
	if (pid > tid_mask) {	/* pid_max was raised meanwhile */
		count_of(bpf_get_smp_processor_id())->events_lost++;
		return 0;
	}
	note_of(pid)->tid = 0;
	if (pid != tgid) {
		*place_of(pid) = image;
		return 0;
	}
	born = __sync_fetch_and_add(&images, 1) + 1;
	__sync_fetch_and_add(&alive, 1);
	*place_of(pid) = born;
	python_forked(BPF_CORE_READ(parent, tgid), pid);
	event = event_new(PH_EVENT_FORK);
	if (!event)
		return 0;
	event->image = born;
	event->prev_image = image;
	event->pid = pid;
	event->tid = pid;
	event->ppid = BPF_CORE_READ(child, real_parent, tgid);
	read_namespace(event, child);
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return 0;
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

static __always_inline struct event_scratch *scratch_new(__u32 cpu, __u32 type, struct task_struct *task)
{
	struct event_scratch *scratch = bpf_map_lookup_elem(&event_scratches, &cpu);

	if (!scratch)
		return NULL;
	__builtin_memset(&scratch->event, 0, sizeof(scratch->event));
	scratch->event.ns = bpf_ktime_get_ns();
	scratch->event.type = type;
	scratch->event.pid = BPF_CORE_READ(task, tgid);
	scratch->event.tid = BPF_CORE_READ(task, pid);
	scratch->event.ppid = BPF_CORE_READ(task, real_parent, tgid);
	read_namespace(&scratch->event, task);
	return scratch;
}

static __always_inline int on_exec(struct task_struct *task, __u32 old_tid, struct linux_binprm *bprm)
{
	__u32 tid = BPF_CORE_READ(task, pid), cpu = bpf_get_smp_processor_id();
	__u32 image = *place_of(old_tid) & ~ASLEEP, born = image, at;
	struct event_scratch *scratch;
	__u64 start, n;

	if (!image)
		return 0;
	/* The first exec is the command's own: what ran before it was our launcher. */
	if (started || !cookie)
		born = __sync_fetch_and_add(&images, 1) + 1;
	started = 1;
	*place_of(tid) = born;
	python_gone(BPF_CORE_READ(task, tgid));
	if (tid != old_tid)	/* a thread's exec takes the leader's number */
		*place_of(old_tid) = 0;
	scratch = scratch_new(cpu, PH_EVENT_EXEC, task);
	if (!scratch)
		return 0;
	scratch->event.image = born;
	scratch->event.prev_image = image;
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

static __always_inline int on_task_exit(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 tid = task->pid, place = *place_of(tid);
	struct signal_struct *signal = task->signal;
	struct ph_event *event;

	if (!place)
		return 0;
	*place_of(tid) = 0;
	note_of(tid)->tid = 0;
	emit_exit_call(task, place);
	if (signal->live.counter != 0)
		return 0;
	__sync_fetch_and_add(&alive, -1);
	python_gone(task->tgid);
	event = event_new(PH_EVENT_EXIT);
	if (!event)
		return 0;
	event->image = place & ~ASLEEP;
	event->pid = task->tgid;
	event->tid = tid;
	event->status = signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code : task->group_leader->exit_code;
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return 0;
}

/* The process's number in the recorder's own namespace; 0 when it can't be seen from there. */
static __always_inline __u32 own_number(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, group_leader, thread_pid);
	unsigned int level = BPF_CORE_READ(pid, level);

	for (unsigned int i = 0; i < 8; i++) {
		struct upid number;

		if (i > level || bpf_probe_read_kernel(&number, sizeof(number), &pid->numbers[i]))
			break;
		if (BPF_CORE_READ(number.ns, ns.inum) == own_ns)
			return number.nr;
	}
	return 0;
}

/* Walked over every thread of the machine, twice: threads born meanwhile inherit from those found before. */
static __always_inline int on_each_task(struct task_struct *task)
{
	__u32 tid, tgid, number, cpu = bpf_get_smp_processor_id(), *found, *known, born;
	struct event_scratch *scratch;

	if (!task)
		return 0;
	tid = BPF_CORE_READ(task, pid);
	tgid = BPF_CORE_READ(task, tgid);
	number = own_number(task);
	found = number ? bpf_map_lookup_elem(&wanted, &number) : NULL;
	if (!found || tid > tid_mask || *place_of(tid) || BPF_CORE_READ(task, exit_state))
		return 0;
	known = bpf_map_lookup_elem(&joined, &tgid);
	if (known) {
		*place_of(tid) = *known;
		return 0;
	}
	born = __sync_fetch_and_add(&images, 1) + 1;
	__sync_fetch_and_add(&alive, 1);
	bpf_map_update_elem(&joined, &tgid, &born, BPF_ANY);
	*found = 1;
	*place_of(tid) = born;
	scratch = scratch_new(cpu, PH_EVENT_JOINED, task);
	if (!scratch)
		return 0;
	scratch->event.image = born;
	scratch->event.tid = number;
	scratch->event.exe_len = read_exe(BPF_CORE_READ(task, mm, exe_file), cpu, 0);
	number = scratch->event.exe_len & (PH_PATH_BYTES + PH_EXE_BYTES - 1);
	if (bpf_ringbuf_output(&events, scratch, sizeof(scratch->event) + number, BPF_RB_NO_WAKEUP))
		count_of(cpu)->events_lost++;
	return 0;
}

#endif

/* One record at each exit of a system call. */
#ifndef PH_RECORD_CALL_BPF_H
#define PH_RECORD_CALL_BPF_H

#include "file.bpf.h"
#include "python.bpf.h"

#define MAP_ANONYMOUS 0x20
#define ARGS_SLOTS 8	/* six, rounded up so that a mask bounds an index */
#define SAMPLED_SITES (1 << 16)
#define SAMPLED_ALWAYS 16	/* so many stacks of a call site come first, then one in SAMPLED_ONE_IN */
#define SAMPLED_ONE_IN 64

enum { NR_MMAP = 9, NR_CLONE = 56, NR_FORK = 57, NR_VFORK = 58, NR_EXECVE = 59, NR_EXIT = 60, NR_PRCTL = 157,
       NR_EXIT_GROUP = 231, NR_SIGNALFD = 282, NR_SIGNALFD4 = 289, NR_EXECVEAT = 322, NR_CLONE3 = 435 };
enum { NR32_FORK = 2, NR32_EXECVE = 11, NR32_CLONE = 120, NR32_VFORK = 190, NR32_EXECVEAT = 358 };

struct input {
	struct task_struct *task;
	const struct pt_regs *regs;
	__u32 place;	/* of image_of, with ASLEEP */
	__u32 shape;
	long nr;
	long ret;
	__u64 args[ARGS_SLOTS];
	__s32 fd;
	__u8 flags;
};

/* How often each call site was seen, for sampling; two sites that share a place are sampled less, no harm. */
__u16 sites_seen[SAMPLED_SITES];

static __always_inline void fill_call(struct ph_call *call, const struct input *in, __u64 ip)
{
	call->exit_ns = bpf_ktime_get_ns();
	call->flags = in->flags;
	call->ftype = 0;
	call->tid = in->task->pid;
	call->pid = in->task->tgid;
	call->image = in->place & ~ASLEEP;
	call->nr = in->nr;
	call->ret = in->ret;
	call->ip = ip;
}

static __always_inline void fill_args(__u64 *args, const struct input *in)
{
	args[0] = in->args[0];
	args[1] = in->args[1];
	args[2] = in->args[2];
	args[3] = in->args[3];
	args[4] = in->args[4];
	args[5] = in->args[5];
}

/* An index, not a switch: the verifier walks every branch of every caller. */
static __always_inline __u64 arg_of(const struct input *in, __u32 number)
{
	return in->args[(number - 1) & (ARGS_SLOTS - 1)];
}

/* Entry, sleep and wake-ups of this call, from the thread's note. */
static __always_inline void fill_times(struct ph_call *call, struct input *in)
{
	struct ph_note *note = note_of(in->task->pid);

	call->enter_ns = 0;
	call->blocked_ns = 0;
	call->switches = 0;
	call->stack = 0;
	if (in->place & ASLEEP)
		*place_of(in->task->pid) = in->place & ~ASLEEP;
	if (note->tid != (__u32)in->task->pid)
		return;
	if (full)
		call->enter_ns = note->enter_ns;
	if (in->place & ASLEEP) {
		call->blocked_ns = note->blocked_ns;
		call->switches = note->switches;
		note->blocked_ns = 0;
		note->switches = 0;
	}
}

struct string_copy {
	__u64 from;
	__u32 to;
};

/* Bytes follow the fixed part: `at` is where, and always below half of PH_RING_SLACK_BYTES. */
static __always_inline __u32 copy_path(struct ph_call *call, __u32 at, __u64 user, struct ph_ring_head *ring, long ret)
{
	long n = bpf_probe_read_user_str((void *)call + (at & (PH_RING_SLACK_BYTES / 2 - 1)), PH_PATH_BYTES, (void *)user);

	if (n >= 0 && n <= PH_PATH_BYTES)
		return n;
	ring->paths_unread += ret >= 0;
	return 0;
}

static __always_inline __u32 copy_address(struct ph_call *call, __u32 at, const struct input *in)
{
	__u32 number = PH_SHAPE_ARG(in->shape, 15);
	__u64 pointer = arg_of(in, number), len = arg_of(in, number + 1);

	/* An error leaves what the kernel was to fill in as it was. */
	if (in->shape & PH_SHAPE_OUT && in->ret < 0)
		return 0;
	if (in->shape & PH_SHAPE_MESSAGE) {
		struct { __u64 name; __u32 len; __u32 pad; } message;

		if (bpf_probe_read_user(&message, sizeof(message), (void *)pointer))
			return 0;
		pointer = message.name;
		len = message.len;
	} else if (in->shape & PH_SHAPE_OUT) {
		__u32 filled = 0;

		if (!len || bpf_probe_read_user(&filled, sizeof(filled), (void *)len))
			return 0;
		len = filled;
	}
	len = (__u32)len > PH_ADDRESS_BYTES ? PH_ADDRESS_BYTES : (__u32)len;
	if (!pointer || !len)
		return 0;
	if (bpf_probe_read_user((void *)call + (at & (PH_RING_SLACK_BYTES / 2 - 1)), len, (void *)pointer))
		return 0;
	return len;
}

static __always_inline __u32 copy_stack(struct ph_call *call, __u32 at, const struct pt_regs *regs)
{
	struct ph_registers *registers = (void *)call + (at & (PH_RING_SLACK_BYTES / 2 - 1));
	__u64 sp = regs->sp;
	__u32 n = PH_STACK_BYTES;

	registers->ip = regs->ip;
	registers->sp = sp;
	registers->bp = regs->bp;
	registers->bx = regs->bx;
	registers->r12 = regs->r12;
	registers->r13 = regs->r13;
	registers->r14 = regs->r14;
	registers->r15 = regs->r15;
	if (bpf_probe_read_user(registers + 1, PH_STACK_BYTES, (void *)sp)) {
		n = 0x1000 - (sp & 0xfff);	/* the stack may end at the next page */
		if (n > PH_STACK_BYTES)
			n = PH_STACK_BYTES;
		if (!n || bpf_probe_read_user(registers + 1, n, (void *)sp))
			return 0;
	}
	return sizeof(*registers) + (n & ~7u);
}

static __always_inline bool wants_stack(const struct input *in)
{
	__u64 site = (in->regs->ip * 0x9e3779b97f4a7c15ull) ^ ((__u64)in->place * 0xff51afd7ed558ccdull) ^ (in->nr << 48);
	__u16 *seen = &sites_seen[(site >> 48 ^ site >> 20) & (SAMPLED_SITES - 1)];

	if (in->flags & (PH_CALL_COMPAT | PH_CALL_NO_ARGS))
		return false;
	(*seen)++;
	return *seen <= SAMPLED_ALWAYS || *seen % SAMPLED_ONE_IN == 0;
}

/* Everything that not every call has: times, paths, an address, a stack. */
static __noinline __u32 emit_long(struct input *in, struct file *file, __u32 stack)
{
	struct ph_lengths *lengths;
	struct ph_ring_head *ring;
	struct ph_call *call;
	struct ph_file *part;
	bool timed;
	__u32 at = PH_CALL_BYTES, n;

	if (!in)
		return 0;
	call = call_begin(&ring);
	if (!call)
		return 0;
	timed = full || stack || in->place & ASLEEP;
	in->flags |= timed ? PH_CALL_TIMED : PH_CALL_BRIEF;
	fill_call(call, in, in->regs->ip);
	part = timed ? (struct ph_file *)&call->file : (struct ph_file *)call->args;
	lengths = (struct ph_lengths *)(part + 1);
	*lengths = (struct ph_lengths){ 0 };
	if (file)
		fill_file(call, part, file, in->fd);
	else
		clear_file(part);
	if (timed) {
		fill_args(call->args, in);
		fill_times(call, in);
	} else {
		fill_args((__u64 *)(lengths + 1), in);
		n = 8 * PH_SHAPE_ARG(in->shape, 20);
		lengths->stack = n;
		at = PH_CALL_ARGS_AT + sizeof(*part) + sizeof(*lengths) + n;
	}
	if (PH_SHAPE_ARG(in->shape, 3) && !(in->flags & PH_CALL_NO_ARGS)) {
		at += n = copy_path(call, at, arg_of(in, PH_SHAPE_ARG(in->shape, 3)), ring, in->ret);
		lengths->path = n;
		if (PH_SHAPE_ARG(in->shape, 6)) {
			at += n = copy_path(call, at, arg_of(in, PH_SHAPE_ARG(in->shape, 6)), ring, in->ret);
			lengths->path2 = n;
		}
	}
	if (PH_SHAPE_ARG(in->shape, 15)) {
		at += n = copy_address(call, at, in);
		lengths->address = n;
	}
	at = (at + 7) & ~7u;
	if (stacks && stack) {
		at += n = copy_python(at, in->task);
		call->python_len = n;
		at += n = copy_stack(call, at, in->regs);
		lengths->stack = n;
	}
	call_end(ring, call, at);
	return 0;
}

static __always_inline int emit_short(const struct input *in, struct file *file)
{
	struct ph_ring_head *ring;
	struct ph_call *call = call_begin(&ring);

	if (!call)
		return 0;
	fill_call(call, in, in->regs->ip);
	if (file) {
		struct ph_file *part = (struct ph_file *)call->args;

		fill_file(call, part, file, in->fd);
		fill_args((__u64 *)(part + 1), in);
		call_end(ring, call, PH_CALL_ARGS_AT + sizeof(*part) + 8 * PH_SHAPE_ARG(in->shape, 20));
	} else {
		fill_args(call->args, in);
		call_end(ring, call, PH_CALL_ARGS_AT + 8 * PH_SHAPE_ARG(in->shape, 20));
	}
	return 0;
}

/* pipe and socketpair make two descriptions; the record has room for one, so each gets an event. */
static __always_inline void note_opened(const struct input *in, struct file *file, __u32 fd)
{
	struct ph_event *event = file ? event_new(PH_EVENT_OPENED) : NULL;

	if (!event)
		return;
	event->file = (__u64)file;
	event->image = in->place & ~ASLEEP;
	event->status = fd;
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

/* The open file description that the call's result or descriptor names; what it can't tell stays NULL. */
static __always_inline struct file *call_file(struct input *in)
{
	__u32 fd_arg = PH_SHAPE_ARG(in->shape, 0), pair_arg = PH_SHAPE_ARG(in->shape, 9);
	int pair[2];

	if (in->shape & PH_SHAPE_RETURNS && in->ret >= 0) {
		if (in->shape & PH_SHAPE_CREATES &&
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
	bool stack;

	if (in->flags & (PH_CALL_COMPAT | PH_CALL_NO_ARGS) || in->nr < 0 || in->nr >= PH_NR_MAX)
		in->shape = PH_SHAPE_ARGS(6);
	else
		in->shape = shapes[in->nr & (PH_NR_MAX - 1)];
	if (in->shape & PH_SHAPE_NAMES && !(in->shape & PH_SHAPE_CLOSES))
		file = call_file(in);
	if (file)
		in->flags |= PH_CALL_FILE;
	stack = stacks && wants_stack(in);
	if (full || stack || in->place & ASLEEP || in->shape & PH_SHAPE_BYTES)
		return emit_long(in, file, stack);
	return emit_short(in, file);
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

static __always_inline int on_sys_exit(struct task_struct *task, __u32 place, const struct pt_regs *regs, long ret)
{
	struct input in = { .task = task, .regs = regs, .place = place, .nr = (long)regs->orig_ax, .ret = ret };

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
	if (images || !cookie || regs->orig_ax != NR_PRCTL || regs->di != cookie || regs->si != cookie)
		return 0;
	images = 1;
	alive = 1;
	*place_of(tid) = 1;
	return 0;
}

static __always_inline int on_sys_enter(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 tid = task->pid;
	struct ph_note *note;

	if (!*place_of(tid))
		return 0;
	note = note_of(tid);
	if (note->tid != tid) {
		note->tid = tid;
		note->out_ns = 0;
		note->blocked_ns = 0;
		note->switches = 0;
	}
	note->enter_ns = bpf_ktime_get_ns();
	return 0;
}

/* exit and exit_group never come back: their record is made here, from the registers they were called with. */
static __always_inline void emit_exit_call(struct task_struct *task, __u32 place)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	__u8 flags = PH_CALL_NO_RETURN;
	long nr = BPF_CORE_READ(regs, orig_ax);
	struct ph_ring_head *ring;
	struct ph_call *call;
	__u64 status;

	if (task->thread_info.status & TS_COMPAT) {
		if (nr != 1 && nr != 252)
			return;
		flags |= PH_CALL_COMPAT;
		status = (__u32)BPF_CORE_READ(regs, bx);
	} else {
		if (nr != NR_EXIT && nr != NR_EXIT_GROUP)
			return;
		status = BPF_CORE_READ(regs, di);
	}
	call = call_begin(&ring);
	if (!call)
		return;
	call->exit_ns = bpf_ktime_get_ns();
	call->flags = flags;
	call->ftype = 0;
	call->tid = task->pid;
	call->pid = task->tgid;
	call->image = place & ~ASLEEP;
	call->nr = nr;
	call->ret = 0;
	call->ip = BPF_CORE_READ(regs, ip);
	call->args[0] = status;
	call_end(ring, call, PH_CALL_ARGS_AT + 8);
}

#endif

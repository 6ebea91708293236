/* The recorder inside the kernel: one record at each exit of a system call of the observed process tree.
 *
 * Only exits are hooked, unless asked for more: a second hook at the entry costs 55 ns on every call of the machine.
 * What an exit can't tell comes from elsewhere: exec's path and arguments from sched_process_exec, exit and exit_group
 * from sched_process_exit, sleeps from sched_switch, the description that close took away from the records before it
 * (observe/lineage.py).
 */
#include "process.bpf.h"
#include "sample.bpf.h"
#include "uring.bpf.h"
#include "wait.bpf.h"

char LICENSE[] SEC("license") = "GPL";

SEC("tp_btf/sys_exit")
int BPF_PROG(btf_sys_exit, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 tid = task->pid, place = *place_of(tid);

	if (!place)
		return on_bystander(tid, regs);
	return on_sys_exit(task, place, regs, ret);
}

SEC("raw_tp/sys_exit")
int raw_sys_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 tid = task->pid, place = *place_of(tid);
	struct pt_regs regs;

	if (!place && images)
		return 0;
	if (bpf_probe_read_kernel(&regs, sizeof(regs), (void *)ctx->args[0]))
		return 0;
	if (!place)
		return on_bystander(tid, &regs);
	return on_sys_exit(task, place, &regs, ctx->args[1]);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(btf_sys_enter)
{
	return on_sys_enter();
}

SEC("raw_tp/sys_enter")
int raw_sys_enter(struct bpf_raw_tracepoint_args *ctx)
{
	return on_sys_enter();
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

/* The fourth argument, the state that the old task leaves in, exists since Linux 5.18. */
SEC("tp_btf/sched_switch")
int BPF_PROG(btf_switch, bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int prev_state)
{
	if (prev_state)
		falls_asleep(prev);
	wakes_up(next);
	return 0;
}

SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(btf_uring_submit, struct io_kiocb *req)
{
	return on_uring_submit(req);
}

SEC("tp_btf/io_uring_complete")
int BPF_PROG(btf_uring_complete, struct io_ring_ctx *ring, void *req, struct io_uring_cqe *cqe)
{
	return on_uring_complete(ring, req, cqe);
}

SEC("iter/task")
int each_task(struct bpf_iter__task *ctx)
{
	return on_each_task(ctx->task);
}

SEC("perf_event")
int cpu_clock(struct bpf_perf_event_data *ctx)
{
	return on_cpu_clock(ctx);
}

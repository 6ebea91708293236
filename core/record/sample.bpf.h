/* Ticks of the cpu-clock: where the time of observed threads goes, calls or not. */
#ifndef PH_RECORD_SAMPLE_BPF_H
#define PH_RECORD_SAMPLE_BPF_H

#include "call.bpf.h"

/* A ring of its own: a tick interrupts the programs that write the other one. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);	/* set before load */
} samples SEC(".maps");

struct stack_sample {
	struct ph_sample sample;
	struct ph_registers registers;
	__u64 stack[PH_STACK_BYTES / 8];
};

static __always_inline void fill_sample(struct ph_sample *sample, struct task_struct *task, __u32 place,
					const struct pt_regs *user, __u64 ip, bool in_kernel)
{
	long nr = BPF_CORE_READ(user, orig_ax);

	sample->ns = bpf_ktime_get_ns();
	sample->ip = ip;
	sample->pid = task->tgid;
	sample->tid = task->pid;
	sample->image = place & ~ASLEEP;
	/* In the kernel for an interrupt or a fault, the number is negative. */
	sample->nr = in_kernel && nr >= 0 ? nr : -1;
	sample->cpu = bpf_get_smp_processor_id();
	sample->in_kernel = in_kernel;
	sample->compat = !!(task->thread_info.status & TS_COMPAT);
	sample->stack_len = 0;
	sample->reserved = 0;
	sample->stack = 0;
	sample->lost = 0;
}

static __always_inline void fill_registers(struct ph_registers *registers, const struct pt_regs *user)
{
	struct pt_regs regs;

	if (bpf_probe_read_kernel(&regs, sizeof(regs), user))
		return;
	registers->ip = regs.ip;
	registers->sp = regs.sp;
	registers->bp = regs.bp;
	registers->bx = regs.bx;
	registers->r12 = regs.r12;
	registers->r13 = regs.r13;
	registers->r14 = regs.r14;
	registers->r15 = regs.r15;
}

static __always_inline int on_cpu_clock(struct bpf_perf_event_data *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct pt_regs *user = (const struct pt_regs *)bpf_task_pt_regs(task);
	__u32 place = *place_of(task->pid);
	__u64 ip = PT_REGS_IP(&ctx->regs);
	bool in_kernel = (long)ip < 0;
	struct stack_sample *room;

	if (!place)
		return 0;
	room = bpf_ringbuf_reserve(&samples, stacks ? sizeof(*room) : sizeof(room->sample), 0);
	if (!room) {
		count_of(bpf_get_smp_processor_id())->samples_lost++;
		return 0;
	}
	fill_sample(&room->sample, task, place, user, ip, in_kernel);
	if (stacks) {
		fill_registers(&room->registers, user);
		if (!bpf_probe_read_user(room->stack, PH_STACK_BYTES, (void *)room->registers.sp))
			room->sample.stack_len = sizeof(room->registers) + PH_STACK_BYTES;
	}
	bpf_ringbuf_submit(room, BPF_RB_NO_WAKEUP);
	return 0;
}

#endif

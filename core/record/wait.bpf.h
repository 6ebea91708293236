/* How long observed threads slept inside their calls. */
#ifndef PH_RECORD_WAIT_BPF_H
#define PH_RECORD_WAIT_BPF_H

#include "state.bpf.h"

static __always_inline void falls_asleep(struct task_struct *task)
{
	__u32 tid = task->pid, *place = place_of(tid);
	struct pt_regs *regs;
	struct ph_note *note;

	if (!*place)
		return;
	/* Interrupts and faults leave a negative number there: a sleep outside of any call is no call's. */
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	if ((long)BPF_CORE_READ(regs, orig_ax) < 0)
		return;
	note = note_of(tid);
	if (note->tid != tid) {
		note->tid = tid;
		note->enter_ns = 0;
		note->blocked_ns = 0;
		note->switches = 0;
	}
	note->out_ns = bpf_ktime_get_ns();
	note->switches++;
	*place |= ASLEEP;
}

static __always_inline void wakes_up(struct task_struct *task)
{
	__u32 tid = task->pid;
	struct ph_note *note;

	if (!(*place_of(tid) & ASLEEP))
		return;
	note = note_of(tid);
	if (note->tid != tid || !note->out_ns)
		return;
	note->blocked_ns += bpf_ktime_get_ns() - note->out_ns;
	note->out_ns = 0;
}

#endif

/* io_uring: operations that no call shows, from its own tracepoints (Linux 6.4 for the names of today). */
#ifndef PH_RECORD_URING_BPF_H
#define PH_RECORD_URING_BPF_H

#include "state.bpf.h"

/* The ring of a context belongs to whoever submitted to it last: completions come from any thread. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u32);
} ring_images SEC(".maps");

static __always_inline int on_uring_submit(struct io_kiocb *req)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 image = *place_of(task->pid) & ~ASLEEP;
	__u64 ring = (__u64)BPF_CORE_READ(req, ctx);
	struct ph_event *event;

	if (!image)
		return 0;
	bpf_map_update_elem(&ring_images, &ring, &image, BPF_ANY);
	event = event_new(PH_EVENT_RING_SUBMIT);
	if (!event)
		return 0;
	event->image = image;
	event->pid = task->tgid;
	event->tid = task->pid;
	event->file = (__u64)BPF_CORE_READ(req, file);
	event->user_data = BPF_CORE_READ(req, cqe.user_data);
	event->prev_image = BPF_CORE_READ(req, cqe.fd);
	event->status = BPF_CORE_READ(req, opcode);
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return 0;
}

static __always_inline int on_uring_complete(struct io_ring_ctx *ring, void *req, struct io_uring_cqe *cqe)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 key = (__u64)ring;
	__u32 *image = bpf_map_lookup_elem(&ring_images, &key);
	struct ph_event *event;

	if (!image)
		return 0;
	event = event_new(PH_EVENT_RING_DONE);
	if (!event)
		return 0;
	event->image = *image;
	event->pid = task->tgid;
	event->tid = task->pid;
	event->user_data = BPF_CORE_READ(cqe, user_data);
	event->result = BPF_CORE_READ(cqe, res);
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return 0;
}

#endif

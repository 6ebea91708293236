/* What all programs of the recorder share: what is observed, the rings, the counters. */
#ifndef PH_RECORD_STATE_BPF_H
#define PH_RECORD_STATE_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "peephole/abi_record.h"

#define TS_COMPAT 0x0002
#define ASLEEP (1u << 31)	/* in image_of: its note holds a sleep */

/* Set before load. */
const volatile __u32 shapes[PH_NR_MAX];
const volatile __u64 cookie;	/* the command says prctl(cookie, cookie) just before its exec; 0: nobody will */
const volatile __u64 ring_mask;	/* bytes of a CPU's ring, less 1 */
const volatile __u32 tid_mask;	/* no thread's number is above it */
const volatile __u32 note_mask;
const volatile __u8 full;	/* entries are hooked */
const volatile __u8 stacks;	/* some calls come with the top of their stack */

__u32 images;
__u32 started;	/* the command's own exec was seen */
__s32 alive;	/* observed processes that have not ended */
struct ph_cpu_count counts[PH_CPUS_MAX];

/* Which image a thread runs: 0 is not observed. Indexed by tid, so one load decides for a bystander. In a map of its
 * own: libbpf writes global variables in full at load. The values' sizes are set before load. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__uint(value_size, PH_TID_MAX * sizeof(__u32));
} image_of SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__uint(value_size, PH_NOTES * sizeof(struct ph_note));
} notes SEC(".maps");

/* Stand in for what a look-up of an only element never gives: NULL. */
__u32 no_place;
struct ph_note no_note;

/* One element a CPU: struct ph_ring_head's page, the records, the slack. The value's size is set before load. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__uint(value_size, PH_RING_HEAD_BYTES + (1 << 20) + PH_RING_SLACK_BYTES);
} rings SEC(".maps");

/* Apart from the calls, so that a burst of them never costs a process. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);	/* set before load */
} events SEC(".maps");

static __always_inline struct ph_cpu_count *count_of(__u32 cpu)
{
	return &counts[cpu & (PH_CPUS_MAX - 1)];
}

/* A number above what was the highest possible at the start is nobody's: see on_fork(). */
static __always_inline __u32 *place_of(__u32 tid)
{
	__u32 zero = 0, *images_of = bpf_map_lookup_elem(&image_of, &zero);

	return images_of && tid <= tid_mask ? &images_of[tid & tid_mask] : &no_place;	/* the mask: for the verifier */
}

static __always_inline struct ph_note *note_of(__u32 tid)
{
	__u32 zero = 0;
	struct ph_note *all = bpf_map_lookup_elem(&notes, &zero);

	return all ? &all[tid & note_mask] : &no_note;
}

/* The innermost pid namespace of a task, and its number there. */
static __always_inline void read_namespace(struct ph_event *event, struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, group_leader, thread_pid);
	unsigned int level = BPF_CORE_READ(pid, level);
	struct upid number;

	if (bpf_probe_read_kernel(&number, sizeof(number), &pid->numbers[level]))
		return;
	event->ns_pid = number.nr;
	event->pid_ns = BPF_CORE_READ(number.ns, ns.inum);
}

static __always_inline struct ph_event *event_new(__u32 type)
{
	struct ph_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		count_of(bpf_get_smp_processor_id())->events_lost++;
		return NULL;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->ns = bpf_ktime_get_ns();
	event->type = type;
	return event;
}

/* A record's place in this CPU's ring, or NULL when it is full; then the loss is already counted. */
static __always_inline struct ph_call *call_begin(struct ph_ring_head **out)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct ph_ring_head *ring = bpf_map_lookup_elem(&rings, &cpu);
	__u64 at;
	struct ph_call *call;

	if (!ring)
		return NULL;
	at = ring->produced;
	/* Busy: this program was interrupted by another of ours on a kernel whose tracing programs can be preempted. */
	if (at - ring->consumed > ring_mask + 1 - PH_RING_SLACK_BYTES || ring->busy) {
		ring->seq++;
		ring->lost++;
		return NULL;
	}
	ring->busy = 1;
	barrier();
	if (at == ring->consumed && (at & ring_mask) > PH_RING_FAR_BYTES) {
		at = (at | ring_mask) + 1;
		ring->restart = at;
		/* The reader's, but it has nothing to say now; should it, it sees `restart` when it looks again. */
		ring->consumed = at;
		barrier();
		ring->produced = at;
	}
	call = (void *)ring + PH_RING_HEAD_BYTES + (at & ring_mask);
	call->seq = ++ring->seq;
	*out = ring;
	return call;
}

static __always_inline void call_end(struct ph_ring_head *ring, struct ph_call *call, __u32 len)
{
	call->len = len;
	/* The record before the position that shows it: stores are seen in their order on x86. */
	barrier();
	ring->produced += len;
	ring->busy = 0;
}

#endif

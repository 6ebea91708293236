/* Frames of Python's own: the interpreter keeps them in a list of its own, apart from the stack.
 *
 * Read here, inside of the call, where the thread that made it can change nothing. Where the list begins and how its
 * elements look, peephole-record says for each process in which it found an interpreter that it knows (record/python.c). */
#ifndef PH_RECORD_PYTHON_BPF_H
#define PH_RECORD_PYTHON_BPF_H

#include "state.bpf.h"

#define PYTHON_THREADS_MAX 128
#define PYTHON_PART_MAX 4096
#define PYTHON_COMPACT_ASCII 0x60	/* of a str's state: its characters are bytes and lie behind its head */

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);	/* set before load */
	__type(key, __u32);	/* process */
	__type(value, struct ph_python);
} pythons SEC(".maps");

struct python_walk {
	struct ph_python python;
	__u64 self, thread, frame;
	__u32 cpu, at, found;
};

static __always_inline __u64 user_word(__u64 address)
{
	__u64 value = 0;

	bpf_probe_read_user(&value, sizeof(value), (void *)address);
	return value;
}

/* 1 ends the loop. */
static long is_thread(__u32 i, struct python_walk *walk)
{
	(void)i;
	walk->found = user_word(walk->thread + walk->python.thread_id) == walk->self;
	if (walk->found)
		return 1;
	walk->thread = user_word(walk->thread + walk->python.thread_next);
	return !walk->thread;
}

static __always_inline __u32 copy_text(char *to, __u32 room, const struct ph_python *python, __u64 text)
{
	__u32 state = 0;
	long n;

	bpf_probe_read_user(&state, sizeof(state), (void *)(text + python->text_state));
	if ((state & PYTHON_COMPACT_ASCII) != PYTHON_COMPACT_ASCII)
		return 0;
	n = bpf_probe_read_user_str(to, room, (void *)(text + python->text_bytes));
	return n > 0 && n <= room ? n : 0;
}

static long copy_frame(__u32 i, struct python_walk *walk)
{
	struct ph_ring_head *ring = bpf_map_lookup_elem(&rings, &walk->cpu);
	struct ph_python *python = &walk->python;
	__u64 code = user_word(walk->frame + python->frame_code);
	struct ph_python_frame *to;
	__u32 line = 0, n, m;

	(void)i;
	if (!ring || !code)
		return 1;
	/* The record that is being written begins where the next one would. */
	to = (void *)ring + PH_RING_HEAD_BYTES + (ring->produced & ring_mask) + (walk->at & (PH_RING_SLACK_BYTES / 2 - 1));
	bpf_probe_read_user(&line, sizeof(line), (void *)(code + python->code_line));
	n = copy_text((char *)(to + 1), PH_PYTHON_NAME_BYTES, python, user_word(code + python->code_name));
	m = copy_text((char *)(to + 1) + n, PH_PYTHON_FILE_BYTES, python, user_word(code + python->code_file));
	to->line = line;
	to->name_len = n;
	to->file_len = m;
	walk->at += (sizeof(*to) + n + m + 7) & ~7u;
	walk->frame = user_word(walk->frame + python->frame_previous);
	return !walk->frame;
}

/* The frames of the running thread, innermost first, behind the record's first `at` bytes; how many bytes they take. */
static __always_inline __u32 copy_python(__u32 at, struct task_struct *task)
{
	struct python_walk walk = { .cpu = bpf_get_smp_processor_id(), .at = at };
	__u32 pid = task->tgid;
	struct ph_python *python = bpf_map_lookup_elem(&pythons, &pid);

	if (!python)
		return 0;
	walk.python = *python;
	walk.self = task->thread.fsbase;
	walk.thread = user_word(user_word(python->interpreters) + python->threads);
	if (walk.thread)
		bpf_loop(PYTHON_THREADS_MAX, is_thread, &walk, 0);
	if (!walk.found)
		return 0;
	walk.frame = user_word(user_word(walk.thread + python->thread_cframe) + python->cframe_frame);
	if (walk.frame)
		bpf_loop(PH_PYTHON_FRAMES_MAX, copy_frame, &walk, 0);
	return walk.at - at;
}

/* A child has its parent's memory; a new program has nothing of the old one's. */
static __always_inline void python_forked(__u32 parent, __u32 child)
{
	struct ph_python *python = stacks ? bpf_map_lookup_elem(&pythons, &parent) : NULL, copy;

	if (!python)
		return;
	copy = *python;
	bpf_map_update_elem(&pythons, &child, &copy, BPF_ANY);
}

static __always_inline void python_gone(__u32 pid)
{
	if (stacks)
		bpf_map_delete_elem(&pythons, &pid);
}

#endif

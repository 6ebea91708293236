/* What the recorder's BPF program hands to `peephole-record`, and what that spills.
 * src/peephole/observe/records.py is the other side.
 *
 * A spill is a private folder:
 *	ring.raw	struct ph_block each with its records, as they were in the ring but without stacks' bytes
 *	calls.raw	by `peephole-record --unpack`: struct ph_call, PH_CALL_BYTES each, CPU by CPU in the order of each ring
 *	paths.raw	and the bytes of those calls, in the same order: path, path2 (both without their NULs), socket address
 *	events.raw	struct ph_event, each followed by its bytes and padded to 8
 *	samples.raw	struct ph_sample, PH_SAMPLE_BYTES each
 *	frames.raw, stacks.raw	with stacks: see record/unwind.h
 *	begin.json	written first: version, hook, start, how many arguments each call takes
 *	end.json	counts and the command's status; written last, so its presence means "complete"
 *	error		instead of end.json: one line saying why there is no recording
 */
#ifndef PEEPHOLE_ABI_RECORD_H
#define PEEPHOLE_ABI_RECORD_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define PH_RECORD_VERSION 3
#define PH_PATH_BYTES 4096
#define PH_ADDRESS_BYTES 128	/* sizeof(struct sockaddr_storage) */
#define PH_STACK_BYTES 512
#define PH_ARGV_BYTES 32768
#define PH_EXE_BYTES 4096
#define PH_NR_MAX 512
#define PH_TID_MAX (1 << 22)	/* the kernel's own upper limit of pid_max (include/linux/threads.h) */
#define PH_CPUS_MAX 1024

enum ph_call_flags {
	PH_CALL_COMPAT = 1,	/* nr is of the i386 table */
	PH_CALL_FILE = 2,	/* the file part holds something */
	PH_CALL_NO_RETURN = 4,	/* exit and exit_group: there is no result */
	PH_CALL_NO_ARGS = 8,	/* the call replaced its registers (exec, sigreturn) */
	PH_CALL_CREATED = 16,	/* made a new open file description: `file` may be a reused address */
	PH_CALL_TIMED = 32,	/* the time part holds something */
	PH_CALL_BRIEF = 64,	/* in the ring: bytes follow, and there is no time part */
};

/* In ring.raw: so many bytes of whole records of this CPU follow. */
struct ph_block {
	__u32 cpu;
	__u32 bytes;
};

/* In calls.raw all of them have PH_CALL_BYTES. In the ring a record with PH_CALL_TIMED has, too, and then its bytes. Without,
 * it ends after as many arguments as the call takes; with PH_CALL_FILE or PH_CALL_BRIEF a struct ph_file comes before them;
 * with PH_CALL_BRIEF struct ph_lengths, too, and the bytes come last. */
struct ph_call {
	__u64 exit_ns;		/* CLOCK_MONOTONIC */
	__u32 seq;		/* counts the calls of this CPU; a jump is a loss */
	__s32 nr;
	__u32 tid;
	__u32 image;
	__u32 pid;
	union {
		__u16 len;	/* in the ring: of the record, a multiple of 8 */
		__u16 cpu;	/* in calls.raw */
	};
	__u8 flags;
	__u8 ftype;		/* S_IFMT >> 12 */
	__s64 ret;
	__u64 ip;
	__u64 args[6];
	/* the file part */
	__u64 file;		/* address of the kernel's struct file: a name for it only while it is open */
	__u64 ino;
	__s64 size;
	__s64 offset;
	__s32 fd;		/* the descriptor that named it */
	__u32 dev;		/* as st_dev has it */
	__u16 path_len;		/* with the closing NUL; 0: no path, or not readable */
	__u16 path2_len;
	__u16 address_len;
	__u16 stack_len;	/* in the ring: struct ph_registers and the stack's top */
	/* the time part */
	__u64 enter_ns;		/* 0: not seen */
	__u64 blocked_ns;	/* asleep inside the call, and waiting for a CPU after it */
	__u32 switches;		/* how often it fell asleep */
	union {
		__u32 stack;	/* in the spill: number of its stack, from 1; 0: none */
		__u32 python_len;	/* in the ring: of the struct ph_python_frame before the stack */
	};
};

/* The file part, less its lengths. */
struct ph_file {
	__u64 file, ino;
	__s64 size, offset;
	__s32 fd;
	__u32 dev;
};

struct ph_lengths {
	__u16 path, path2, address;	/* path_len … of struct ph_call */
	__u16 stack;		/* stack_len; with PH_CALL_BRIEF the bytes of the arguments */
};

#define PH_CALL_ARGS_AT 48
#define PH_CALL_FILE_AT 96
#define PH_CALL_TIME_AT 144
#define PH_CALL_BYTES 168

/* A frame of Python's own, innermost first: its function and file follow, each with its NUL, padded to 8. */
struct ph_python_frame {
	__u32 line;		/* where the function begins */
	__u16 name_len;		/* 0: not in ASCII */
	__u16 file_len;
};

#define PH_PYTHON_FRAMES_MAX 16
#define PH_PYTHON_NAME_BYTES 64
#define PH_PYTHON_FILE_BYTES 128

/* An interpreter of Python in a process: the address of the list of interpreters, and the places of what is followed from
 * there. */
struct ph_python {
	__u64 interpreters;
	__u16 threads, thread_next, thread_id, thread_cframe, cframe_frame, frame_code, frame_previous;
	__u16 code_line, code_file, code_name, text_state, text_bytes;
};

/* What unwinding starts from, before the copied bytes of the stack. */
struct ph_registers {
	__u64 ip, sp, bp, bx, r12, r13, r14, r15;
};

/* One CPU's ring of calls, as it lies in the map: this page, then the records. One producer (the CPU), one consumer. A
 * record that reaches the end goes on into the slack behind it. A producer that is far from the beginning and finds
 * everything read starts at the beginning again, so that a reader who keeps up keeps all of it in the cache. */
struct ph_ring_head {
	__u64 produced;		/* bytes, ever */
	__u32 seq;
	__u32 lost;
	__u32 paths_unread;	/* a path argument of a successful call could not be read */
	__u32 busy;		/* a record is being written: never two at once */
	__u64 restart;		/* everything was read at that time, and what follows began here: at the first byte again */
	__u32 pad[8];
	__u64 consumed;		/* in a cache line of its own */
	__u32 pad2[14];
};

#define PH_RING_HEAD_BYTES 4096
#define PH_RING_SLACK_BYTES 32768	/* no record is longer than half of it */
#define PH_RING_FAR_BYTES (1 << 19)

enum ph_event_type {
	PH_EVENT_FORK = 1,
	PH_EVENT_EXEC = 2,
	PH_EVENT_EXIT = 3,	/* of the whole process */
	PH_EVENT_OPENED = 4,	/* one descriptor of pipe and socketpair: `file` is a new description, `status` its number */
	PH_EVENT_JOINED = 5,	/* a process that already ran: `name` is its executable's path, `status` 1 for a thread group leader */
	PH_EVENT_RING_SUBMIT = 6,	/* io_uring: `file`, `user_data`; `status` is the operation, prev_image the descriptor */
	PH_EVENT_RING_DONE = 7,	/* io_uring: `user_data`; `result` */
};

struct ph_event {
	__u64 ns;
	__u64 file;
	__u32 type;
	__u32 image;
	__u32 prev_image;	/* fork: the parent's; exec: the one replaced */
	__u32 pid;
	__u32 ppid;
	__u32 tid;
	__s32 status;		/* exit: wait status; opened: the descriptor */
	__u16 name_len;		/* exec: the path as passed, with NUL */
	__u16 exe_len;		/* exec: the names of the executable's path, last first, each with NUL */
	__u32 argv_len;		/* exec: arguments, each with NUL */
	__u32 argv_full;	/* exec: what argv_len would be had nothing been cut */
	__u32 pid_ns;		/* fork, exec, joined: inode of the innermost pid namespace, */
	__u32 ns_pid;		/* and the process's number in it */
	__u64 user_data;	/* io_uring */
	__s64 result;
};

#define PH_EVENT_BYTES 80

/* A tick of the cpu-clock: where an observed thread was. */
struct ph_sample {
	__u64 ns;
	__u64 ip;
	__u32 pid;
	__u32 tid;
	__u32 image;
	__s32 nr;		/* the call that it was in; -1: in none */
	__u16 cpu;
	__u8 in_kernel;
	__u8 compat;
	__u16 stack_len;	/* in the ring: struct ph_registers and the stack's top follow */
	__u16 reserved;
	__u32 stack;		/* in the spill: number of its stack, from 1 */
	__u32 lost;		/* in the ring's next record after a loss; unused in the spill */
};

#define PH_SAMPLE_BYTES 48

/* What is known of a thread between its calls. */
struct ph_note {
	__u64 enter_ns;
	__u64 out_ns;		/* fell asleep then; 0: runs */
	__u64 blocked_ns;
	__u32 switches;
	__u32 tid;		/* whose note it is: numbers that differ by PH_NOTES share a place */
};

#define PH_NOTES (1 << 18)	/* at most */

/* Counters of one CPU beside the ring's; a cache line each. */
struct ph_cpu_count {
	__u32 events_lost;
	__u32 samples_lost;
	__u32 stacks_lost;
	__u32 pad[13];
};

/* The shape of a call: which arguments are descriptors and paths. Argument numbers count from 1, 0 is none. */
#define PH_SHAPE_FD(n) (n)		/* bits 0-2: this argument is a descriptor */
#define PH_SHAPE_PATH(n) ((n) << 3)	/* bits 3-5 */
#define PH_SHAPE_PATH2(n) ((n) << 6)	/* bits 6-8 */
#define PH_SHAPE_PAIR(n) ((n) << 9)	/* bits 9-11: points to two descriptors that the call makes */
#define PH_SHAPE_RETURNS (1 << 12)	/* the result is a descriptor */
#define PH_SHAPE_CREATES (1 << 13)	/* … of a new description */
#define PH_SHAPE_CLOSES (1 << 14)	/* the descriptor is gone at the exit */
#define PH_SHAPE_ADDRESS(n) ((n) << 15)	/* bits 15-17: this argument points to a socket address, the next is its length */
#define PH_SHAPE_OUT (1 << 18)		/* … which the kernel fills in: the next points to the length */
#define PH_SHAPE_MESSAGE (1 << 19)	/* … is a struct msghdr */
#define PH_SHAPE_ARGS(n) ((n) << 20)	/* bits 20-22: how many arguments the call takes */
#define PH_SHAPE_NAMES (1 << 23)		/* a descriptor is among the arguments or comes back */
#define PH_SHAPE_BYTES (1 << 24)		/* paths or an address follow the record */
#define PH_SHAPE_ARG(shape, bit) (((shape) >> (bit)) & 7)

_Static_assert(sizeof(struct ph_call) == PH_CALL_BYTES, "ph_call");
_Static_assert(__builtin_offsetof(struct ph_call, args) == PH_CALL_ARGS_AT, "ph_call args");
_Static_assert(__builtin_offsetof(struct ph_call, file) == PH_CALL_FILE_AT, "ph_call file");
_Static_assert(sizeof(struct ph_file) == 40 && __builtin_offsetof(struct ph_call, path_len) == PH_CALL_FILE_AT + 40, "ph_file");
_Static_assert(__builtin_offsetof(struct ph_call, enter_ns) == PH_CALL_TIME_AT, "ph_call time");
_Static_assert(sizeof(struct ph_block) == 8, "ph_block");
_Static_assert(sizeof(struct ph_event) == PH_EVENT_BYTES, "ph_event");
_Static_assert(sizeof(struct ph_sample) == PH_SAMPLE_BYTES, "ph_sample");
_Static_assert(sizeof(struct ph_registers) == 64, "ph_registers");
_Static_assert(sizeof(struct ph_python_frame) == 8, "ph_python_frame");
_Static_assert(sizeof(struct ph_python) == 32, "ph_python");
_Static_assert(sizeof(struct ph_ring_head) == 128, "ph_ring_head");
_Static_assert(sizeof(struct ph_note) == 32, "ph_note");
_Static_assert(sizeof(struct ph_cpu_count) == 64, "ph_cpu_count");

#endif

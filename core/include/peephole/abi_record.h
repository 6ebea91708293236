/* What the recorder's BPF program hands to `peephole-record`, and what that spills.
 * src/peephole/observe/records.py is the other side.
 *
 * A spill is a private folder:
 *	calls.raw	struct ph_call, PH_CALL_BYTES each, in the order of the ring
 *	paths.raw	the path bytes of those calls, in the same order, path then path2, without their NULs
 *	events.raw	struct ph_event, each followed by its bytes and padded to 8
 *	end.json	counts and the command's status; written last, so its presence means "complete"
 *	error		instead of end.json: one line saying why there is no recording
 */
#ifndef PEEPHOLE_ABI_RECORD_H
#define PEEPHOLE_ABI_RECORD_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define PH_RECORD_VERSION 1
#define PH_PATH_BYTES 4096
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
};

struct ph_call {
	__u64 exit_ns;		/* CLOCK_MONOTONIC */
	__u32 seq;		/* counts the calls of this CPU; a jump is a loss */
	__u16 cpu;
	__u8 flags;
	__u8 ftype;		/* S_IFMT >> 12 */
	__u32 tid;
	__u32 pid;
	__u32 image;
	__s32 nr;
	__u16 path_len;		/* with the closing NUL; 0: no path, or not readable */
	__u16 path2_len;
	__u32 dev;		/* as st_dev has it */
	__s64 ret;
	__u64 ip;
	__u64 args[6];
	/* the file part: in the ring only when PH_CALL_FILE or a path is there, in the spill always */
	__u64 file;		/* address of the kernel's struct file: a name for it only while it is open */
	__u64 ino;
	__s64 size;
	__s64 offset;
	__s32 fd;		/* the descriptor that named it */
	__u32 reserved;
};

#define PH_CALL_BASE_BYTES 104
#define PH_CALL_BYTES 144

enum ph_event_type {
	PH_EVENT_FORK = 1,
	PH_EVENT_EXEC = 2,
	PH_EVENT_EXIT = 3,	/* of the whole process */
	PH_EVENT_OPENED = 4,	/* one descriptor of pipe and socketpair: `file` is a new description, `status` its number */
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
};

#define PH_EVENT_BYTES 56

/* Counters of one CPU; a cache line each. */
struct ph_cpu_count {
	__u32 seq;
	__u32 lost;
	__u32 events_lost;
	__u32 paths_unread;	/* a path argument of a successful call could not be read */
	__u32 pad[12];
};

/* The shape of a call: which arguments are descriptors and paths. Argument numbers count from 1, 0 is none. */
#define PH_SHAPE_FD(n) (n)		/* bits 0-2: this argument is a descriptor */
#define PH_SHAPE_PATH(n) ((n) << 3)	/* bits 3-5 */
#define PH_SHAPE_PATH2(n) ((n) << 6)	/* bits 6-8 */
#define PH_SHAPE_PAIR(n) ((n) << 9)	/* bits 9-11: points to two descriptors that the call makes */
#define PH_SHAPE_RETURNS (1 << 12)	/* the result is a descriptor */
#define PH_SHAPE_CREATES (1 << 13)	/* … of a new description */
#define PH_SHAPE_CLOSES (1 << 14)	/* the descriptor is gone at the exit */
#define PH_SHAPE_ARG(shape, bit) (((shape) >> (bit)) & 7)

_Static_assert(sizeof(struct ph_call) == PH_CALL_BYTES, "ph_call");
_Static_assert(__builtin_offsetof(struct ph_call, file) == PH_CALL_BASE_BYTES, "ph_call base");
_Static_assert(sizeof(struct ph_event) == PH_EVENT_BYTES, "ph_event");
_Static_assert(sizeof(struct ph_cpu_count) == 64, "ph_cpu_count");

#endif

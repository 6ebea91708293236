/* What peephole-attach and the runtime inside a living process say to each other. The attacher maps the library,
 * finds `ph_anchor` in it by name, and runs its functions in one stopped thread, on a stack of ours. */
#ifndef PEEPHOLE_ABI_LIVE_H
#define PEEPHOLE_ABI_LIVE_H

#include <stdint.h>

#define PH_LIVE_MAGIC 0x4556494c45504550ull	/* "PEPELIVE" */
#define PH_LIVE_VERSION 2u
#define PH_LIVE_OBJECTS 8
#define PH_LIVE_MAPPED 256
#define PH_LIVE_PATCHES 1536
#define PH_LIVE_BYTES 24

/* Bytes to be written while every thread stands still. A thread that waits in the kernel in a call made at `resume`
 * (the address behind the instruction) has to go on at `stub_after` when `moved`, since the kernel would restart the call
 * two bytes before, where now something else stands; when taking out, any thread at `stub_after` goes to
 * `resume`.
 * `run`: bytes of instructions before the call that are replaced too (a last resort). No saved signal frame may lie in
 * between, which the attacher looks for; a thread that stands there goes on in the stub, which begins at `stub`. */
struct ph_live_patch {
	uint64_t at;
	uint64_t resume, stub_after;	/* 0: nothing to move (padding) */
	uint64_t stub;
	uint8_t length;
	uint8_t moved;
	uint8_t run;
	uint8_t reserved[5];
	uint8_t bytes[PH_LIVE_BYTES];
};

/* What makes system calls for the program: libc, ld.so and their like, or a static program itself. */
struct ph_live_object {
	uint64_t base;		/* added to a site's address */
	uint64_t list;		/* offset of its list in `lists` */
};

struct ph_live_file {
	uint64_t dev, ino;
};

struct ph_live {
	uint64_t lists, lists_bytes;	/* site lists, mapped */
	uint32_t hwcap2;
	uint32_t own_calls;		/* 1: the program makes system calls that no site list knows; no rule may act */
	uint32_t n_objects;
	uint32_t n_mapped;
	uint32_t bare;			/* 1: its stacks are too small for C (Go): stubs only make the call themselves */
	uint32_t fresh;			/* 1: nothing of it has run yet, so nothing can come back into what is replaced */
	struct ph_live_object objects[PH_LIVE_OBJECTS];
	struct ph_live_file mapped[PH_LIVE_MAPPED];	/* files that the program has mapped */
	char control_path[512], exe[120];
	/* what comes back */
	uint32_t n_patches;
	uint32_t missing;		/* sites that matter and can't be patched here */
	uint32_t by_tier[6];		/* enum ph_tier */
	int32_t missing_nr[8];		/* the numbers of the first few of them */
	struct ph_live_patch patches[PH_LIVE_PATCHES];
};

enum ph_live_state {
	PH_LIVE_OUT,		/* loaded; no call site leads to it */
	PH_LIVE_READY,		/* begun; patches are waiting to be written */
	PH_LIVE_IN
};

struct ph_anchor {
	uint64_t magic;
	uint32_t version, size_bytes;
	uint32_t state;			/* enum ph_live_state */
	uint32_t live_bytes;		/* sizeof(struct ph_live) */
	uint64_t call;			/* rax: a function, rdi: struct ph_live; ends with SIGTRAP sent, its result in rbx */
	uint64_t begin, commit, disarm, end, abandon;	/* int64_t (*)(struct ph_live *): 0 or -errno */
	uint64_t code, code_end;	/* C and assembly, stubs not included */
	uint64_t stubs, stubs_end;
	uint64_t control;		/* where the control page is mapped, or 0 */
	uint64_t live;			/* where the attacher's struct ph_live and stack lie, once it has mapped them */
	uint64_t live_mapped_bytes;
};

_Static_assert(sizeof(struct ph_live_patch) == 64, "ph_live_patch");
_Static_assert(sizeof(struct ph_anchor) == 128, "ph_anchor");

#endif

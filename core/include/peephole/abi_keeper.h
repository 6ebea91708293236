/* What the runtime in a program and the keeper beside it share: memory in which a process has what is pending. The memory
 * is one memfd of the keeper's, with a slot for each process, and behind them a table that belongs to all; which process has
 * which slot stands in the control page.
 * The keeper reads a slot's head; what lies behind it only the runtime's own code knows, which the keeper loads. */
#ifndef PEEPHOLE_ABI_KEEPER_H
#define PEEPHOLE_ABI_KEEPER_H

#include <stdatomic.h>
#include <stdint.h>

#define PH_KEEPING_MAGIC 0x4745454b45504550ull	/* "PEPEKEEG" */
#define PH_KEEPING_VERSION 4u
#define PH_OWNER_KEEPER 0x21ull	/* as owner of a process's states (core/runtime/hold.h): no thread has this number */
#define PH_DIRTY_WORDS 4

struct ph_head {
	uint32_t pid;		/* 0: not shared with a keeper */
	uint32_t layers;	/* bit i: rule i of the control page acts in the process */
	uint32_t fenced;	/* 1: the keeper can make sure that the process sees it as owner */
	uint32_t reserved;
	_Atomic uint64_t tick;	/* the keeper's clock */
	_Atomic uint64_t owner, local, ended;	/* core/runtime/hold.h */
	_Atomic uint64_t dirty[PH_DIRTY_WORDS];	/* bit i: description i may have something pending */
	uint64_t unused[506 - PH_DIRTY_WORDS];
};

/* Behind the last slot: what programs of the tree have found that files lack (core/runtime/attributes.c), a number for each,
 * 0: free. `seed` makes them, so that nobody outside can aim at one. */
#define PH_TABLE_WAYS 8
#define PH_TABLE_SETS 32768

struct ph_table {
	uint64_t seed;
	uint64_t unused[7];
	uint64_t sets[PH_TABLE_SETS][PH_TABLE_WAYS];
};

/* What is asked of the runtime's code in the keeper. */
struct ph_keep {
	void *control;		/* the control page */
	uint64_t offset;	/* of the slot in `memory` */
	uint64_t before;	/* only what is pending since a tick before this */
	int32_t memory;		/* the memfd */
	int32_t process;	/* a pidfd; -1: the process is gone */
};

struct ph_keeping {
	uint64_t magic;
	uint32_t version, size_bytes;
	uint64_t slot_bytes;
	int64_t (*settle)(const struct ph_keep *keep);	/* 0, or -errno: nothing was done */
	/* Makes the sync that the tree has put off, shortly before its time is over; in how many ms to ask again: `often_ms`
	 * or more while syncs are put off, else `seldom_ms`. */
	int (*sync)(void *control, int often_ms, int seldom_ms);
	uint32_t (*examining)(const void *control);	/* bit i: rule i of the control page answers what files were */
};

_Static_assert(sizeof(struct ph_head) == 4096, "ph_head");
_Static_assert(sizeof(struct ph_keep) == 32, "ph_keep");
_Static_assert(sizeof(struct ph_table) == 64 + PH_TABLE_SETS * PH_TABLE_WAYS * 8, "ph_table");

#endif

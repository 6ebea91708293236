/* The processes that have what is pending in the keeper's memory. */
#ifndef PH_KEEPER_SLOTS_H
#define PH_KEEPER_SLOTS_H

#include <poll.h>
#include <stdbool.h>

#include "peephole/abi_control.h"
#include "peephole/abi_keeper.h"

struct ph_slots {
	struct ph_control *control;
	const struct ph_keeping *keeping;
	int memory;
	struct ph_slot {
		uint32_t pid;		/* 0: free */
		int process;		/* pidfd */
		struct ph_head *head;
	} slots[PH_SLOTS];
};

/* Looks after every process once: what is pending since before tick `before` is settled where the process lives,
 * everything where it is gone. Returns how many live. */
int ph_slots_look(struct ph_slots *s, uint64_t tick, uint64_t before);

/* What to wait for: the end of a process. Returns how many of `wait` are set. */
int ph_slots_wait(const struct ph_slots *s, struct pollfd wait[PH_SLOTS]);

#endif

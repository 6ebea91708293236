/* The bytes that change while every thread stands still, and the threads that have to go on elsewhere. */
#ifndef PH_ATTACH_PATCHES_H
#define PH_ATTACH_PATCHES_H

#include "peephole/abi_live.h"
#include "target.h"

/* A piece of a page, old and new: one write is much cheaper than one for each patch in it. */
struct span {
	uint64_t at;
	size_t n;
	uint8_t *before, *after;
};

/* Reads what is there, and makes the pages the process's own already, by writing a byte that is there. */
int spans_make(const struct target *t, const struct ph_live *live, struct span **spans, size_t *n);

/* All or none. */
int spans_write(const struct target *t, const struct span *spans, size_t n);

/* Whether some thread may come back, by way of a signal frame on its stack, into the middle of what is replaced. */
bool patches_awaited(struct target *t, const struct ph_live *live);

/* Threads that wait in the kernel at a patched call; see struct ph_live_patch. */
void patches_move(struct target *t, const struct ph_live *live, bool out);

#endif

/* Recording without root: each call that reaches C is made there and written to a ring that is shared with the reader
 * (abi_ring.h). Only in processes in which no rule acts. */
#ifndef PH_RUNTIME_RING_H
#define PH_RUNTIME_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "peephole/abi_ring.h"

struct ph_frame;

/* Takes the mapped file of `bytes`; false: it is not a ring. Once, at start. */
bool ph_ring_init(void *file, uint64_t bytes);

/* The image that has just begun. */
void ph_ring_start(const char *as_passed, int argc, char **argv);

/* A call from a patched site, instead of ph_hook; and what has come of one that made a thread, or a child in our memory. */
void ph_ring_call(struct ph_frame *f);
void ph_ring_made(const struct ph_frame *f, int64_t nr);

void ph_ring_stop(void);	/* this process records no more */

bool ph_ring_paths(unsigned i, unsigned *nr, uint8_t *path, uint8_t *path2);

#endif

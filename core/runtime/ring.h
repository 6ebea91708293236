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

/* ring_shapes.c: of each call, how many arguments it takes, which of them are paths, and how it is recorded. */
#define PH_RING_SHAPES 512
#define PH_RING_ARGS 7
#define PH_RING_PATH_AT 3
#define PH_RING_PATH2_AT 6
#define PH_RING_ARG(shape, at) ((shape) >> (at) & 7)
#define PH_RING_TIMED (1u << 9)
#define PH_RING_SPECIAL (1u << 10)	/* ring.c: needs more than to be made */
void ph_ring_shapes(uint16_t shapes[PH_RING_SHAPES]);

#endif

/* Which bytes of the text are instructions, by recursive descent from every function's start: never a linear sweep,
 * which would take the tables inside .text of libcrypto for code. */
#ifndef PH_SITES_FLOW_H
#define PH_SITES_FLOW_H

#include <stdbool.h>

#include "image.h"

enum {
	FLOW_START = 1,		/* an instruction begins here */
	FLOW_INSIDE = 2,	/* lies in an instruction that begins earlier */
	FLOW_TARGET = 4,	/* something branches, calls or may return here from outside the straight line */
	FLOW_MOVES = 8,		/* plain: no branch, no rip-relative operand, leaves rsp alone; works anywhere */
	FLOW_STOPS = 16,	/* nothing falls through (jmp, ret, ud2) */
	FLOW_SYSCALL = 32,
	FLOW_SETS_AX = 64,	/* writes rax or a part of it */
	FLOW_CALL = 128
};

struct table {
	uint64_t table;
	const struct function *function;
};

struct flow {
	const struct image *image;
	uint8_t *is;		/* flags by byte of the text */
	uint8_t *length;	/* of the instruction that begins here */
	uint32_t *work;		/* offsets still to be walked */
	size_t n_work, room;
	struct table *tables;	/* that may be jump tables, still to be read */
	size_t n_tables, tables_room;
};

int flow_walk(struct flow *flow, const struct image *image);

/* The instruction right before the one at `offset` on the straight line, or -1. */
int64_t flow_previous(const struct flow *flow, uint64_t offset);

#endif

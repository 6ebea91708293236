/* Pipes that this process turns out to read alone. */
#ifndef PH_RUNTIME_PIPES_H
#define PH_RUNTIME_PIPES_H

#include <stdbool.h>
#include <stdint.h>

extern bool ph_pipes_used;		/* some rule has state of pipes */

/* The program reads n bytes from fd, on which no rule has state. After many small reads in a row from one pipe, whose read
 * end no other process has, rules are told of it as if the program had just made it. This read is not theirs yet. */
void ph_pipe_read(int64_t fd, int64_t n);

/* Whether such a read has to be told: a small one, and what ends a row of those. */
#define PH_PIPE_SMALL 64
extern uint32_t ph_pipe_row;		/* small reads in a row, until now */
static inline bool ph_pipe_counts(int64_t n)
{
	return ph_pipe_row || (n > 0 && n < PH_PIPE_SMALL);
}

#endif

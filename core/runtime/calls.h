/* What calls.def says of each call: its class, and which arguments are descriptors. */
#ifndef PH_RUNTIME_CALLS_H
#define PH_RUNTIME_CALLS_H

#include <stdint.h>

#include "numbers.h"

enum call_class { ANY, INERT, FD, MAPS, DUP, CLOSE, CLOSES, OPEN, FORK, EXEC, EXIT, WAIT };

struct call_row {
	uint8_t class;	/* an enum call_class; ANY where calls.def has no row */
	int8_t fd_arg, fd_arg2;
};

extern const struct call_row ph_calls[PH_NR_MAX];

#endif

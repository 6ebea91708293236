/* Making calls of chosen kinds dearer, to see what their time is worth to the program. Only in processes in which no rule
 * acts; a delayed call then goes on untouched. */
#ifndef PH_RUNTIME_DELAY_H
#define PH_RUNTIME_DELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "peephole/abi_control.h"

/* Takes what the control page asks for. Once, before call sites are patched; false: nothing. */
bool ph_delay_init(struct ph_control *control);

bool ph_delays(int64_t nr);	/* whether calls of this number are to be delayed */

/* A call is about to be made: it waits, if its number is one of them, with the processor kept busy as a call would. */
void ph_delay(int64_t nr);

#endif

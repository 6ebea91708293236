/* What files are, for the improved programs of one tree (abi_examined.h): examined here, and watched from then on. */
#ifndef PH_KEEPER_WATCHES_H
#define PH_KEEPER_WATCHES_H

#include "peephole/abi_control.h"

/* For these rules of the control page, a bit for each. 0, or -1: there is no table, and nobody asks. */
int ph_watches_begin(struct ph_control *control, uint32_t rules);

/* What to wait for, or -1. */
int ph_watches_fd(void);

/* Hears what has changed, and examines some of what was asked for. In how many ms to look again, at most `seldom_ms`. */
int ph_watches_look(int seldom_ms);

/* The keeper itself changes, or has changed, a file. */
void ph_watches_forget(void);

#endif

/* Sleeps in a row, for rules that ask for them. */
#ifndef PH_RUNTIME_NAPS_H
#define PH_RUNTIME_NAPS_H

#include "layers.h"

void ph_naps_end(void);	/* this thread's row: another call than a sleep comes */
void ph_naps_adopt(void);	/* in a fork's child: the other threads are not there */

static inline bool ph_is_sleep(int64_t nr)
{
	return nr == 35 || nr == 230;	/* nanosleep, clock_nanosleep */
}

#endif

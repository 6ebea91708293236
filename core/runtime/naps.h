/* Sleeps in a row, for rules that ask for them. */
#ifndef PH_RUNTIME_NAPS_H
#define PH_RUNTIME_NAPS_H

#include "layers.h"

extern bool ph_naps_used;	/* some rule looks at sleeps: every call of another kind ends its thread's row */
void ph_naps_end(void);

static inline bool ph_is_sleep(int64_t nr)
{
	return nr == 35 || nr == 230;	/* nanosleep, clock_nanosleep */
}

#endif

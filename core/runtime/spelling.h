/* Calls that say the same in other words: rules know one of them. */
#ifndef PH_RUNTIME_SPELLING_H
#define PH_RUNTIME_SPELLING_H

#include "dispatch.h"

/* newfstatat that asks of a descriptor. */
bool ph_is_fstat(const struct ph_call *c);

/* rename and its kin, which reach rules as renameat: `as`. */
bool ph_is_renaming(const struct ph_call *c, struct ph_call *as);

#endif

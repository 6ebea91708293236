/* How calls are spelt: the strings in them, and those that say the same in other words, of which rules know one. */
#ifndef PH_RUNTIME_SPELLING_H
#define PH_RUNTIME_SPELLING_H

#include "dispatch.h"

/* newfstatat that asks of a descriptor. */
bool ph_is_fstat(const struct ph_call *c);

/* rename and its kin, which reach rules as renameat: `as`. */
bool ph_is_renaming(const struct ph_call *c, struct ph_call *as);

/* A string of the program's: its length, or -1 when there is no room for it and its 0, or it can't be read. */
int64_t ph_copy_string(char *to, int64_t room, const char *user);

#endif

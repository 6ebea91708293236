/* Calls that say the same in other words: rules know one of them. */
#include "spelling.h"

#include "numbers.h"

/* newfstatat(fd, "", buf, AT_EMPTY_PATH), as glibc spells fstat, reaches rules as fstat(fd, buf). */
bool ph_is_fstat(const struct ph_call *c)
{
	char first;

	return c->nr == PH_NR_newfstatat && (c->a[3] & PH_AT_EMPTY_PATH) && (int32_t)c->a[0] >= 0 &&
	       ph_copy_in(&first, (const void *)c->a[1], 1) == 0 && first == '\0';
}

/* rename and its kin reach rules as renameat. */
bool ph_is_renaming(const struct ph_call *c, struct ph_call *as)
{
	*as = *c;
	as->nr = PH_NR_renameat;
	if (c->nr == PH_NR_rename)
		*as = (struct ph_call){ .nr = PH_NR_renameat, .a = { PH_AT_FDCWD, c->a[0], PH_AT_FDCWD, c->a[1] } };
	return c->nr == PH_NR_rename || c->nr == PH_NR_renameat || (c->nr == PH_NR_renameat2 && (uint32_t)c->a[4] == 0);
}

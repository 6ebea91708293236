/* How calls are spelt: the strings in them, and those that say the same in other words, of which rules know one. */
#include "spelling.h"

#include "numbers.h"

/* The first byte of a word that is 0, from its lowest on; 8: none. */
static int64_t zero_in(const char *word)
{
	uint64_t w, found;

	__builtin_memcpy(&w, word, sizeof(w));
	found = (w - 0x0101010101010101ull) & ~w & 0x8080808080808080ull;
	return found ? __builtin_ctzll(found) / 8 : 8;
}

int64_t ph_copy_string(char *to, int64_t room, const char *user)
{
	int64_t at = 0;		/* no 0 before it */

	for (int64_t n = 0; n < room;) {
		int64_t some = 64 - ((int64_t)(user + n) & 63);	/* a page ends at a multiple of it */

		if (some > room - n)
			some = room - n;
		if (ph_copy_in(to + n, user + n, (size_t)some) < 0)
			return -1;
		for (n += some; n - at >= 8; at += 8) {
			int64_t zero = zero_in(to + at);

			if (zero < 8)
				return at + zero;
		}
		for (int64_t i = at; i < n; i++)
			if (!to[i])
				return i;
	}
	return -1;
}

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

/* What every object of the bench holds: any byte of any object can be told without storing it. */
#ifndef CONTENT_H
#define CONTENT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PERIOD (1u << 20)	/* objects repeat after this many bytes */

static unsigned char content_table[2 * PERIOD];

static void content_init(void)
{
	uint64_t x = 88172645463325252u;	/* Marsaglia's xorshift64 */

	for (size_t i = 0; i < PERIOD; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		content_table[i] = (unsigned char)(x >> 24);
	}
	memcpy(content_table + PERIOD, content_table, PERIOD);
}

/* Bytes from `at` of object `id`; *n is cut to what lies there in one piece, at least PERIOD. */
static const unsigned char *content_at(unsigned id, size_t at, size_t *n)
{
	size_t start = ((size_t)id * 40503 + at) & (PERIOD - 1);

	if (*n > 2 * PERIOD - start)
		*n = 2 * PERIOD - start;
	return content_table + start;
}

/* Sizes from 1 to 64 KB, as many between 1 and 2 as between 32 and 64: 16 KB on average. */
static size_t content_size(unsigned id)
{
	unsigned h = id * 2654435761u >> 8;
	size_t least = (size_t)1024 << h % 6;

	return least + h / 6 % least;
}

#endif

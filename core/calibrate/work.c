/* What programs do between their calls.
 *
 * After a call the processor predicts their branches worse, and its caches hold what the kernel left: that is part of what a
 * call costs, and a bare loop does not see it. So each call is preceded by work as an interpreter does it: one step after
 * the other, each an indirect call, over some memory. With 128 steps, 13 KB of code, a write, a read and a seek cost what
 * tclsh and jq were measured to save by each of them; with half or twice as many it is a tenth less or a sixth more.
 *
 * dd or a shell's read do next to nothing between two calls: theirs cost what they cost in a bare loop. */
#include "bench.h"

typedef unsigned int (*step)(char *at, unsigned int x);

/* About 100 bytes of code, which differ in their constants; branches go as the data did the last time. */
#define STEP(n) \
	static unsigned int step_##n(char *at, unsigned int x) \
	{ \
		x = (x << (n % 31 + 1) | x >> (31 - n % 31)) ^ (unsigned char)at[n % 64]; \
		if (at[n % 61] & 1) \
			x = x * (2654435761u + n) + (unsigned char)at[64 + n % 59]; \
		else \
			x = (x - n) ^ (x >> (n % 13 + 3)); \
		at[64 + n % 53] = (char)(x & ~1u); \
		if (at[64 + n % 47] & 1) \
			x += (unsigned char)at[n % 43] * (n + 3u); \
		return x ^ (x << (n % 11 + 5)); \
	}
#define NAME(n) step_##n,
/* Four digits, each 0 to 3: as C reads it, an octal number. */
#define FOUR(of, n) of(n##0) of(n##1) of(n##2) of(n##3)
#define SIXTEEN(of, n) FOUR(of, n##0) FOUR(of, n##1) FOUR(of, n##2) FOUR(of, n##3)
#define ALL_OF(of, n) SIXTEEN(of, n##0) SIXTEEN(of, n##1) SIXTEEN(of, n##2) SIXTEEN(of, n##3)
#define ALL(of) ALL_OF(of, 0) ALL_OF(of, 01)

ALL(STEP)

static const step steps[] = { ALL(NAME) };
#define STEPS (sizeof(steps) / sizeof(steps[0]))

void ph_work(char *memory)
{
	static volatile unsigned int kept;
	unsigned int x = kept, place = 12345;
	unsigned int i;

	for (i = 0; i < STEPS; i++) {
		place = place * 1103515245u + 12345u;
		x = steps[(i * 77 + 5) % STEPS](memory + (place >> 8) % (WORK_BYTES - 128), x);
	}
	kept = x;
}

#ifndef PH_KEEPER_CLOCK_H
#define PH_KEEPER_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t now_ms(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

#endif

#include "delay.h"

#include "dispatch.h"
#include "numbers.h"

#define MOST_NS 100000000ull	/* a page that asks for more is wrong */

static struct ph_control *page;
static uint64_t wait_ns;
static uint8_t chosen[PH_NR_MAX / 8];

bool ph_delay_init(struct ph_control *control)
{
	bool any = false;

	wait_ns = control->delay_ns < MOST_NS ? control->delay_ns : MOST_NS;
	for (unsigned i = 0; i < PH_DELAYS_MAX; i++) {
		unsigned nr = control->delay_calls[i] - 1u;

		if (nr >= PH_NR_MAX)
			continue;
		chosen[nr / 8] |= (uint8_t)(1u << nr % 8);
		any = true;
	}
	page = control;
	return wait_ns && any;
}

bool ph_delays(int64_t nr)
{
	return nr >= 0 && nr < PH_NR_MAX && (chosen[nr / 8] & (1u << nr % 8));
}

static uint64_t now_ns(void)
{
	uint64_t t[2] = { 0, 0 };

	ph_syscall(PH_NR_clock_gettime, PH_CLOCK_MONOTONIC, (int64_t)t, 0, 0, 0, 0);
	return t[0] * 1000000000 + t[1];
}

/* Sleeping would add the kernel's timer slack, which is more than most calls last. */
void ph_delay(int64_t nr)
{
	uint64_t end;

	if (!ph_delays(nr))
		return;
	__atomic_fetch_add(&page->delayed, 1, __ATOMIC_RELAXED);
	if (wait_ns == 1)	/* for comparison: all but the wait */
		return;
	for (end = now_ns() + wait_ns; now_ns() < end;)
		;
}

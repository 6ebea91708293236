/* Running what a rule says: a fault in it is contained, and what it takes is weighed against what it saves. */
#ifndef PH_RUNTIME_RUN_H
#define PH_RUNTIME_RUN_H

#include "layers.h"

/* The handler of `layer`; f is NULL where the call needs no state. */
int64_t ph_run(struct ph_walk *walk, unsigned layer, const struct ph_handles *handles, struct ph_state *f,
	       const struct ph_call *call);
bool ph_run_pending(struct ph_walk *walk, unsigned layer, struct ph_description *d);
int64_t ph_run_settle(struct ph_walk *walk, unsigned layer, struct ph_description *d);

/* The rule leaves every process of the tree, each at its next call; said in the control page. */
void ph_layer_off(unsigned layer, enum ph_why why);

/* --- the balance of a rule ------------------------------------------------------------------------------- */
/* One handled call in so many is timed. A prime: a loop of open, write, close must not show the same call each time. */
#define PH_PAY_EVERY 61

extern uint32_t ph_pay_turn;
static inline bool ph_pay_due(void)
{
	return __builtin_expect(++ph_pay_turn % PH_PAY_EVERY == 0, 0);
}

uint64_t ph_ticks(void);	/* 0 when the program may not read them, or nothing is weighed */

/* Around what a timed call does that the original call would have taken too, or that is weighed by itself. */
static inline uint64_t ph_below_begin(const struct ph_k *k)
{
	return k->timed ? ph_ticks() : 0;
}

static inline void ph_below_end(struct ph_k *k, uint64_t start)
{
	if (start)
		k->below += ph_ticks() - start;
}

/* A timed call: what the rule took, without what the original call would have taken too; and whether it saved one. */
void ph_pay_call(unsigned layer, uint64_t ticks, bool hit);
void ph_pay_settle(unsigned layer, uint64_t ticks);

int ph_pay_init(void);
void ph_pay_stop(void);		/* the program forbids itself to read the time stamp counter */

#endif

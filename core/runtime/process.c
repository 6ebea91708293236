/* The states of the process: one of each layer, all zero at first.
 *
 * They are changed only while firmly held, between two steps of `version`, which is odd meanwhile. A call that can be
 * answered from them without the kernel takes no lock: it works on a copy, and counts only if the copy is as it was and no
 * step came between. Everything else is done firmly; the kernel calls there (getpid, setuid ...) do not block. */
#include "process.h"

#include <stdatomic.h>

#include "actions.h"
#include "classes.h"
#include "numbers.h"

#define STATES_MAX 1024
#define WORDS (STATES_MAX / 8)

static uint64_t states[WORDS];
static uint32_t at[PH_RULES_MAX];	/* first word of each layer's state */
static uint32_t words;
static _Atomic uint64_t version;
static bool handled[PH_NR_MAX];
static bool with_state[PH_NR_MAX];	/* some rule that handles it has state of the process, or recalls actions */
static uint64_t unlike[PH_STATE_MAX / 8];	/* what a rule is given that asks for its state where it has none */

int ph_process_init(void)
{
	/* The runtime may have been taken out of a program and be put in again: what was known then may be wrong now. */
	ph_process_forget();
	ph_actions_forget();
	words = 0;
	for (unsigned nr = 0; nr < PH_NR_MAX; nr++)
		handled[nr] = false;
	for (unsigned i = 0; i < ph_n_layers; i++) {
		uint32_t bytes = ph_layers[i].rule->process_bytes;
		bool state = bytes > 0 || ph_layers[i].rule->recalls;

		if (bytes > PH_STATE_MAX || words + (bytes + 7) / 8 > WORDS)
			return -1;
		at[i] = words;
		words += (bytes + 7) / 8;
		for (uint32_t h = 0; h < ph_layers[i].rule->n_handles; h++) {
			const struct ph_handles *handles = &ph_layers[i].rule->handles[h];

			if (handles->fd_arg >= 0 || handles->nr == PH_NR_openat || handles->nr == PH_NR_pipe2)
				continue;
			handled[handles->nr] = true;
			with_state[handles->nr] |= state;
		}
	}
	return 0;
}

bool ph_process_handles(int64_t nr)
{
	return handled[nr];
}

void ph_process_forget(void)
{
	for (uint32_t i = 0; i < words; i++)
		states[i] = 0;
	/* A thread that the child does not have may have been in the middle of a change. */
	atomic_store(&version, 0);
}

void *ph_process(struct ph_k *k)
{
	struct ph_walk *walk = k->walk;

	if (!walk->trial)
		return states + at[k->layer];
	if (!walk->d && walk->process)
		return walk->process + at[k->layer];
	walk->aborted = true;	/* a trial of a description's state: it can't change two things in one step */
	return unlike;
}

/* A step at a time: a handler or another thread that comes between is noticed. */
static bool answered(struct ph_call *c)
{
	uint64_t copy[WORDS], before = atomic_load_explicit(&version, memory_order_acquire);
	struct ph_walk walk = { .trial = true, .process = copy };
	bool same = true;
	int64_t r;

	if (before & 1)
		return false;
	for (uint32_t i = 0; i < words; i++)
		copy[i] = __atomic_load_n(&states[i], __ATOMIC_RELAXED);
	r = ph_layer_call(&walk, 0, c);
	if (walk.aborted)
		return false;
	for (uint32_t i = 0; i < words; i++)
		same = same && copy[i] == __atomic_load_n(&states[i], __ATOMIC_RELAXED);
	atomic_thread_fence(memory_order_acquire);
	if (!same || atomic_load_explicit(&version, memory_order_relaxed) != before)
		return false;
	for (uint32_t hits = walk.hits; hits; hits &= hits - 1)
		__atomic_fetch_add(&ph_layers[__builtin_ctz(hits)].control->hits, 1, __ATOMIC_RELAXED);
	c->ret = r;
	return true;
}

int64_t ph_process_call(struct ph_call *c)
{
	struct ph_walk walk = { .stamp = ph_window_stamp() };

	if (ph_layers_may_answer(c->nr) && !ph_answer_tries(c->nr) && answered(c))
		return c->ret;
	if (c->nr == PH_NR_rt_sigaction)
		ph_signals_before(c->a);
	if (!with_state[c->nr]) {	/* it may block: signals open, nothing held */
		c->ret = ph_layer_call(&walk, 0, c);
	} else {
		ph_walk_hold(&walk);
		atomic_fetch_add(&version, 1);
		c->ret = ph_layer_call(&walk, 0, c);
		atomic_fetch_add(&version, 1);
	}
	for (uint32_t hits = walk.hits; hits; hits &= hits - 1)
		__atomic_fetch_add(&ph_layers[__builtin_ctz(hits)].control->hits, 1, __ATOMIC_RELAXED);
	ph_walk_release(&walk);
	return c->ret;
}

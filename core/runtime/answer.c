/* Calls that need no lock: that concern nobody, and that are answered in user space, on a copy of the rule's state which one
 * step puts in force. */
#include "absent.h"
#include "classes.h"
#include "examined.h"
#include "guard.h"
#include "naps.h"
#include "opens.h"
#include "owed.h"
#include "pipes.h"
#include "process.h"
#include "run.h"

#define NO_FD 0xff

/* Which layers can answer a call on trial (bit i: layer i), which of them change no state, where its descriptor is, and whether
 * it passes where nobody has to do with that; also where a sync is owed. */
static struct row {
	uint32_t layers, glance;
	uint8_t fd_arg, nameless;	/* 1 + the one layer that handles it and may answer, where no argument is a descriptor */
	bool passes, inert, reads, owing;
} rows[PH_NR_MAX];

PH_HOT_DATA union ph_notable ph_notable;

/* The engine sees to actions of signals and to filters. */
static bool may_pass(int64_t nr)
{
	switch ((enum call_class)ph_calls[nr].class) {
	case FD:
		return nr != PH_NR_fcntl && ph_calls[nr].fd_arg2 < 0;
	case INERT:
		return nr != PH_NR_rt_sigaction && nr != PH_NR_rt_sigreturn && !ph_process_handles(nr);
	case ANY:
		return nr != PH_NR_seccomp && ph_any_is_plain(nr);
	case WAIT:
		return true;
	case MAPS:
	case DUP:
	case CLOSE:
	case CLOSES:
	case OPEN:
	case FORK:
	case EXEC:
	case EXIT:
		return false;
	}
	return false;
}

static uint8_t nameless(int64_t nr)
{
	uint32_t layers = ph_layers_stateless(nr) & ph_layers_may_answer(nr);

	if (ph_calls[nr].class != ANY || ph_calls[nr].fd_arg >= 0 || ph_layers_handling(nr) != layers || !layers ||
	    (layers & (layers - 1)) || ph_layers[__builtin_ctz(layers)].rule->process_bytes)
		return 0;
	return (uint8_t)(1 + __builtin_ctz(layers));
}

void ph_answers_init(void)
{
	for (int64_t nr = 0; nr < PH_NR_MAX; nr++) {
		const struct call_row *call = &ph_calls[nr];
		/* Of ioctl, what an argument names besides takes the kernel to know: no trial answers that. */
		bool on_trial = (call->class == FD || call->class == INERT || nr == PH_NR_ioctl) && call->fd_arg >= 0 &&
				call->fd_arg2 < 0 && !ph_layers_stateless(nr);

		rows[nr] = (struct row){
			.layers = on_trial ? ph_layers_may_answer(nr) | ph_layers_glance(nr) : 0,
			.nameless = nameless(nr),
			.glance = on_trial ? ph_layers_glance(nr) : 0,
			.fd_arg = call->fd_arg < 0 ? NO_FD : (uint8_t)call->fd_arg,
			.passes = may_pass(nr) && !(call->class == ANY && ph_place_layers) && !ph_changes_may(nr),
			.inert = call->class == INERT,
			.reads = nr == PH_NR_read && ph_pipes_used,
			.owing = ph_owed_passes(nr),
		};
	}
}

/* Whether all that is noted is names that folders lack, and the call makes none of them unknown (absent.c). */
static bool keeps_names(const struct row *row, int64_t fd)
{
	union ph_notable others = ph_notable;

	others.folders = 0;
	return !others.any && (row->inert || (row->fd_arg != NO_FD && ph_fd_surely_regular(fd)));
}

PH_HOT bool ph_passes(const struct ph_call *c)
{
	const struct row *row;
	int64_t fd = -1;

	if ((uint64_t)c->nr >= PH_NR_MAX)
		return false;
	row = &rows[c->nr];
	if (row->fd_arg != NO_FD)
		fd = (int32_t)c->a[row->fd_arg];
	return row->passes && !ph_description_of(fd) && ph_armed && !ph_hold_forked() && !ph_anything_pending() &&
	       (row->owing || !ph_owed_any()) && (!ph_notable.any || keeps_names(row, fd)) && !(row->reads && ph_pipe_counts(c->a[2]));
}

/* A trial of ours was taken over: its description is nobody's any more, and its memory comes back here. */
static __attribute__((cold, noinline)) void bury(struct ph_description *d)
{
	struct ph_walk walk;

	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	if (d->fds == 0 && (atomic_load(&d->word) & PH_WORD_DEAD))
		ph_description_free(d);
	ph_walk_end(&walk);
}

/* Many hits, counted in copies that are in force now. */
static __attribute__((cold, noinline)) void hand_over(uint32_t layers)
{
	for (; layers; layers &= layers - 1)
		__atomic_fetch_add(&ph_layers[__builtin_ctz(layers)].control->hits, PH_MANY_HITS, __ATOMIC_RELAXED);
}

/* The call, from the first layer that has state on d; none without a state handles it. */
static inline int64_t call_layers(struct ph_walk *walk, struct ph_description *d, const struct ph_call *c)
{
	unsigned first = (unsigned)__builtin_ctz(d->handled), h = ph_layers[first].handle_of[c->nr];
	struct ph_k k = { .walk = walk, .call = c, .layer = first };
	int64_t r;

	if (!h)
		return ph_layer_call(walk, first, c);
	k.f = ph_state_for(walk, d, first);
	r = ph_guarded(&k, k.f, c->a, ph_layers[first].handles[h - 1].run);
	walk->aborted = walk->aborted || r == PH_FAULTED;
	return r;
}

/* The whole call in user space, on copies of the states; false: it has to be done firmly. */
static PH_HOT inline bool answered_on_trial(const struct ph_call *c, int64_t fd, struct ph_description *d, int64_t *ret,
					    unsigned *hit_by)
{
	struct ph_walk walk;	/* not all of it: that would take as long as the rest */
	struct ph_trial trial;
	bool done = false;
	int64_t r;

	if (d->error || d->unplaced || !ph_trial_begin(d, &trial))
		return false;
	if (!(trial.word & PH_WORD_DEAD) && ph_description_of(fd) == d && d->handled) {
		walk.d = d;
		walk.process = NULL;
		walk.adopts = 0;
		walk.touched = walk.hits = walk.many_hits = walk.hit_by = 0;
		walk.held = walk.aborted = walk.received = false;
		walk.glance = !(d->handled & ~rows[c->nr].glance);
		walk.trial = true;
		walk.known_fd = 0;
		r = call_layers(&walk, d, c);
		if (walk.received) {
			if (!ph_trial_end(&trial, false))
				bury(d);
			*ret = r;
			return true;
		}
		if (!walk.aborted) {
			/* Marked before the commit: a settle of nothing harms nobody, a pending effect that no
			 * settle finds does. */
			if ((walk.touched & ~ph_place_layers) && !ph_dirty_test(d))
				ph_dirty_set(d);
			done = ph_trial_commit(d, &trial, walk.touched);
			*ret = r;
		}
	}
	if (!ph_trial_end(&trial, done))
		bury(d);
	if (done && walk.many_hits)
		hand_over(walk.many_hits);
	if (done)
		*hit_by = walk.hit_by;
	return done;
}

/* Whether every one of these layers is on; in doubt not. */
static inline bool switched_on(uint32_t layers)
{
	if (__atomic_load_n(&ph_control->master, __ATOMIC_RELAXED) != 1)
		return false;
	for (; layers; layers &= layers - 1)
		if (!__atomic_load_n(ph_layer_switches[__builtin_ctz(layers)], __ATOMIC_RELAXED))
			return false;
	return true;
}

static __attribute__((noinline)) bool answered_timed(const struct ph_call *c, int64_t fd, struct ph_description *d,
						      int64_t *ret)
{
	uint64_t start = ph_ticks();
	unsigned hit_by = 0;

	if (!answered_on_trial(c, fd, d, ret, &hit_by))
		return false;
	if (start && hit_by)
		ph_pay_call(hit_by - 1, ph_ticks() - start, true);
	return true;
}

/* A call that names no description, by a handler without state, where nothing has to be settled before it. */
static bool answered_by_name(const struct ph_call *c, unsigned layer, int64_t *ret)
{
	struct ph_walk walk;
	struct ph_k k = { .walk = &walk, .call = c, .layer = layer };
	union ph_notable others = ph_notable;
	uint64_t start;
	int64_t r;

	others.files = 0;
	if (others.any || ph_anything_pending() || ph_owed_any() || !switched_on(1u << layer))
		return false;
	walk.d = NULL;
	walk.process = NULL;
	walk.adopts = walk.known_fd = 0;
	walk.touched = walk.hits = walk.many_hits = walk.hit_by = 0;
	walk.held = walk.aborted = walk.received = walk.glance = false;
	walk.trial = true;
	start = ph_pay_due() ? ph_ticks() : 0;
	r = ph_guarded(&k, NULL, c->a, ph_layers[layer].handles[ph_layers[layer].handle_of[c->nr] - 1].run);
	if (walk.aborted || r == PH_FAULTED)
		return false;
	if (start)
		ph_pay_call(layer, ph_ticks() - start, k.hit);
	if (k.hit)
		__atomic_fetch_add(&ph_layers[layer].control->hits, 1, __ATOMIC_RELAXED);
	*ret = r;
	return true;
}

bool ph_answer_tries(int64_t nr)
{
	return rows[nr].nameless;
}

PH_HOT bool ph_answer(const struct ph_call *c, int64_t *ret)
{
	const struct row *row;
	struct ph_description *d;
	int64_t fd;
	unsigned hit_by;

	if ((uint64_t)c->nr >= PH_NR_MAX)
		return false;
	row = &rows[c->nr];
	if (row->nameless)
		return ph_armed && !ph_hold_forked() && answered_by_name(c, row->nameless - 1u, ret);
	if (!row->layers || !ph_armed || ph_hold_forked() || ph_is_dup(c))
		return false;
	fd = (int32_t)c->a[row->fd_arg];	/* the kernel takes 32 bits of it */
	d = ph_description_of(fd);
	if (__builtin_expect(ph_notable.naps, 0))
		ph_naps_end();
	if (!d || !(d->handled & row->layers) || !switched_on(d->handled) || ph_is_of_descriptor(c, d))
		return false;
	return ph_pay_due() ? answered_timed(c, fd, d, ret) : answered_on_trial(c, fd, d, ret, &hit_by);
}

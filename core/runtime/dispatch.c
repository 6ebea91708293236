/* What happens to a call that reached C: the class that calls.def gives it decides what settles; rules with state on
 * the call's description are asked; everything else passes through. */
#include "dispatch.h"

#include "absent.h"
#include "calls.h"
#include "guard.h"
#include "interest.h"
#include "keeper.h"
#include "messages.h"
#include "naps.h"
#include "numbers.h"
#include "opens.h"
#include "owed.h"
#include "pipes.h"
#include "process.h"
#include "run.h"
#include "spelling.h"

/* Calls that may be answered on trial: which layers can (bit i: layer i), which change no state, and where the descriptor is. */
static struct answerable {
	uint32_t layers, glance;
	uint8_t fd_arg;
} answerable[PH_NR_MAX];

PH_HOT_DATA bool ph_armed;
static bool closes_handled;		/* a rule handles close without a description */

int ph_dispatch_init(struct ph_control *control)
{
	int r = ph_layers_init(control);

	if (r < 0 || ph_n_layers == 0)
		return r;
	r = ph_process_init();
	if (r == 0)
		r = ph_hold_init();
	if (r == 0)
		r = ph_descriptions_init();
	if (r == 0)
		r = ph_pay_init();
	for (int64_t nr = 0; nr < PH_NR_MAX; nr++) {
		answerable[nr] = (struct answerable){ 0 };
		/* Of ioctl, what an argument names besides takes the kernel to know: no trial answers that. */
		if ((ph_calls[nr].class == FD || ph_calls[nr].class == INERT || nr == PH_NR_ioctl) &&
		    ph_calls[nr].fd_arg >= 0 && ph_calls[nr].fd_arg2 < 0 && !ph_layers_stateless(nr))
			answerable[nr] = (struct answerable){ ph_layers_may_answer(nr) | ph_layers_glance(nr),
							      ph_layers_glance(nr), (uint8_t)ph_calls[nr].fd_arg };
	}
	ph_absent_forget();
	closes_handled = ph_layers_stateless(PH_NR_close) != 0;
	ph_armed = r == 0;
	return r;
}

bool ph_wants(int64_t nr)
{
	if (!ph_armed)
		return false;
	return nr < 0 || nr >= PH_NR_MAX || ph_calls[nr].class != INERT || ph_layers_handle(nr);
}

/* --- holding, settling ------------------------------------------------------------------------------------- */

void ph_settle_everything(enum ph_why why)
{
	struct ph_walk walk;

	if (!ph_armed || ph_hold_forked())
		return;
	if (why == PH_WHY_EXEC && ph_owed_any())	/* exit comes through the dispatcher */
		ph_owed_settle(NULL);
	if (!ph_anything_pending()) {
		if (why == PH_WHY_EXIT || why == PH_WHY_EXEC)
			ph_hits_publish();
		return;
	}
	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	ph_settle_all_held(&walk, why);
	ph_walk_end(&walk);
}

/* A fork's child begins with nothing pending: its parent settled before, or keeps what it has. */
static void adopt_child(void)
{
	if (__builtin_expect(!ph_hold_forked(), 1))
		return;
	if (!ph_keeper_leave()) {
		ph_armed = false;	/* the parent's memory is no place for this child's */
		return;
	}
	ph_process_forget();
	ph_hold_adopt();
}

void ph_fork_begin(void)
{
	struct ph_walk walk;

	if (!ph_armed)
		return;
	adopt_child();
	if (!ph_armed)
		return;
	ph_absent_forget();
	ph_owed_blind(1);	/* a child that shares the memory makes its calls unseen */
	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	ph_share_everything(&walk, PH_WHY_FORK);
	ph_window_open();
	ph_walk_end(&walk);
}

void ph_fork_end(void)
{
	if (!ph_armed)
		return;
	ph_window_close();
	ph_owed_blind(-1);
}

void ph_disarm(enum ph_why why)
{
	struct ph_walk walk;

	if (!ph_armed)
		return;
	adopt_child();
	if (!ph_armed)
		return;
	ph_owed_blind(1);
	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	ph_share_everything(&walk, why);
	ph_armed = false;
	ph_walk_end(&walk);
}

void ph_handler_begin(void)
{
	struct ph_walk walk;

	if (!ph_armed || !ph_hold_mask())
		return;
	adopt_child();
	if (!ph_armed)
		return;
	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	ph_walk_end(&walk);
}

void ph_thread_begin(void)
{
	struct ph_walk walk;

	if (!ph_armed)
		return;
	adopt_child();
	if (!ph_armed)
		return;
	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	ph_layers_drop(&walk, ph_interest_layers, PH_WHY_SHARED);
	ph_hold_threads();
	ph_walk_end(&walk);
}

/* --- one call ------------------------------------------------------------------------------------------------ */

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
static PH_HOT inline bool answered_on_trial(const struct ph_call *c, int64_t fd, struct ph_description *d, int64_t *ret)
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
		walk.touched = walk.hits = walk.many_hits = 0;
		walk.held = walk.aborted = walk.received = false;
		walk.glance = !(d->handled & ~answerable[c->nr].glance);
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
			if (!ph_dirty_test(d))
				ph_dirty_set(d);
			done = ph_trial_commit(d, &trial, walk.touched);
			*ret = r;
		}
	}
	if (!ph_trial_end(&trial, done))
		bury(d);
	if (done && walk.many_hits)
		hand_over(walk.many_hits);
	return done;
}

/* Takes the error that an earlier settle left, or 0. */
static int64_t take_error(struct ph_description *d)
{
	int64_t error = d->error;

	d->error = 0;
	if (error && !d->handled)
		ph_description_drop(d, false);
	return error;
}

static bool some_layer_handles(const struct ph_description *d, int64_t nr)
{
	for (unsigned i = 0; i < ph_n_layers; i++)
		if ((d->handled & (1u << i)) && ph_layers[i].handle_of[nr])
			return true;
	return false;
}

static enum ph_verdict answer(struct ph_call *c, int64_t r)
{
	c->ret = r;
	return PH_ANSWERED;
}

/* A call on a description with state. */
static enum ph_verdict on_description(struct ph_call *c, struct ph_description *d)
{
	int64_t fd = c->a[ph_calls[c->nr].fd_arg], error;
	enum ph_verdict verdict = PH_PASS;
	struct ph_walk walk;

	ph_walk_begin(&walk, d);
	ph_walk_hold(&walk);
	d = ph_description_of(fd);	/* holding may have taken it away */
	if (!d)
		goto out;
	walk.d = d;
	error = take_error(d);
	if (error) {
		verdict = answer(c, error);
	} else if (some_layer_handles(d, c->nr)) {
		verdict = answer(c, ph_layer_call(&walk, 0, c));
		if (walk.held) {	/* else it has waited, with nothing pending; d may be gone */
			ph_mark_pending(&walk, d);
			if (!d->handled && !d->error)
				ph_description_drop(d, false);
		}
	} else {
		int64_t r = ph_description_settle(&walk, d, PH_WHY_UNHANDLED);

		ph_description_forget(&walk, d);
		ph_keeper_passes(d, c);
		if (r < 0)
			verdict = answer(c, r);
	}
out:
	ph_walk_end(&walk);
	return verdict;
}

/* --- the classes ------------------------------------------------------------------------------------------------ */

/* Whether a layer's handler of this call takes argument `arg` as its descriptor. */
static bool handles_arg(const struct ph_description *d, int64_t nr, int arg)
{
	for (unsigned i = 0; i < ph_n_layers; i++) {
		unsigned h = ph_layers[i].handle_of[nr];

		if (h && (d->handled & (1u << i)) && ph_layers[i].rule->handles[h - 1].fd_arg == arg)
			return true;
	}
	return false;
}

/* Nothing settles; a rule that has state on the descriptor sees it. */
static enum ph_verdict on_inert(struct ph_call *c)
{
	struct ph_description *d = ph_description_of((int32_t)c->a[ph_calls[c->nr].fd_arg]);

	if (!d || !handles_arg(d, c->nr, ph_calls[c->nr].fd_arg))
		return PH_PASS;
	c->a[ph_calls[c->nr].fd_arg] = (int32_t)c->a[ph_calls[c->nr].fd_arg];
	return on_description(c, d);
}

/* A call between two descriptions (copy_file_range, splice, sendfile): the rule that handles one of them sees it,
 * the other settles. */
static enum ph_verdict on_two(struct ph_call *c)
{
	const int args[2] = { ph_calls[c->nr].fd_arg, ph_calls[c->nr].fd_arg2 };
	enum ph_verdict verdict = PH_PASS;
	struct ph_walk walk;

	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	for (int i = 0; i < 2 && verdict == PH_PASS; i++) {
		struct ph_description *d = ph_description_of((int32_t)c->a[args[i]]);
		int64_t r;

		if (!d)
			continue;
		r = take_error(d);
		if (!r && !walk.d && c->a[args[0]] != c->a[args[1]] && handles_arg(d, c->nr, args[i]))
			walk.d = d;
		else if (!r)
			r = ph_description_settle(&walk, d, PH_WHY_UNHANDLED);
		if (walk.d != d)
			ph_description_forget(&walk, d);
		ph_keeper_passes(d, c);
		if (r < 0)
			verdict = answer(c, r);
	}
	if (verdict == PH_PASS && walk.d) {
		verdict = answer(c, ph_layer_call(&walk, 0, c));
		if (walk.held)	/* else it has waited, with nothing pending */
			ph_mark_pending(&walk, walk.d);
	}
	ph_walk_end(&walk);
	return verdict;
}

static bool is_odd(const struct ph_description *d, int64_t fd)
{
	return d ? d->identified && !d->regular : !ph_fd_regular(fd);
}

static enum ph_verdict on_fd(struct ph_call *c)
{
	const struct call_row *row = &ph_calls[c->nr];
	int64_t fd = (int32_t)c->a[row->fd_arg];	/* the kernel takes 32 bits of it */
	int64_t other = row->fd_arg2 >= 0 ? (int32_t)c->a[row->fd_arg2] : -1;
	struct ph_description *d = ph_description_of(fd), *d2 = ph_description_of(other);

	c->a[row->fd_arg] = fd;
	/* A descriptor that is not known to be a regular file may be a pipe, a socket, a terminal: the call may
	 * block, or be seen by others. A rule that handles it looks to that itself. */
	if (ph_anything_pending() && !(d && some_layer_handles(d, c->nr)) && !(d2 && some_layer_handles(d2, c->nr)) &&
	    (is_odd(d, fd) || (row->fd_arg2 >= 0 && is_odd(d2, other))))
		ph_settle_seen(PH_WHY_BLOCKING);
	if (d2 || (d && row->fd_arg2 >= 0))
		return on_two(c);
	if (!d && ph_pipes_used && c->nr == PH_NR_read)
		ph_pipe_read(fd, c->a[2]);
	/* Nothing to settle or to forget, and nobody to ask: no need to hold anything. */
	if (!d || (!ph_dirty_test(d) && !d->error && !(d->handled & ph_memory_layers) && !some_layer_handles(d, c->nr)))
		return PH_PASS;
	return on_description(c, d);
}

/* A new number for a description, whose old meaning is closed first. */
static enum ph_verdict on_dup(struct ph_call *c, int64_t from, int64_t to)
{
	struct ph_description *d;
	struct ph_walk walk;
	int64_t r;

	ph_leave_lists(from);
	if (from != to && to >= 0)
		ph_leave_epoll(to);
	if (from != to && to >= 0 && (d = ph_description_of(to))) {
		ph_walk_begin(&walk, d);
		ph_walk_hold(&walk);
		d = ph_description_of(to);
		if (d) {
			/* The kernel too keeps silent about what closing by dup2 could not write. */
			if (d->fds == 1)
				ph_description_settle(&walk, d, PH_WHY_UNHANDLED);
			ph_description_unname(d, to);
		}
		ph_walk_end(&walk);
	}
	r = ph_syscall(c->nr, c->a[0], c->a[1], c->a[2], c->a[3], c->a[4], c->a[5]);
	if (r >= 0 && r != from) {
		ph_fd_opened(r);
		if (ph_description_of(from)) {
			ph_walk_begin(&walk, NULL);
			ph_walk_hold(&walk);
			d = ph_description_of(from);
			if (d && r < PH_FDS)
				ph_description_name(d, r);
			else if (d)
				ph_share(&walk, d, PH_WHY_FULL);
			ph_walk_end(&walk);
		}
	}
	return answer(c, r);
}

static enum ph_verdict on_close(struct ph_call *c)
{
	int64_t fd = (int32_t)c->a[0], error = 0;
	struct ph_description *d = ph_description_of(fd);
	struct ph_walk walk;

	ph_leave_epoll(fd);
	if (d) {
		ph_walk_begin(&walk, d);
		ph_walk_hold(&walk);
		d = ph_description_of(fd);
		if (d) {
			error = d->error;
			d->error = 0;
			/* A shell's `> file` closes one of two descriptors before the command writes to the other. */
			if (!error && d->fds == 1)
				error = ph_description_settle(&walk, d, PH_WHY_COUNT);
			ph_description_unname(d, fd);
		}
		ph_walk_end(&walk);
	}
	if (!d && closes_handled) {
		ph_walk_begin(&walk, NULL);
		answer(c, ph_layer_call(&walk, 0, c));
		ph_walk_end(&walk);
		ph_fd_closed(fd);
		return PH_ANSWERED;
	}
	ph_fd_closed(fd);
	if (!error)
		return PH_PASS;
	ph_syscall(PH_NR_close, fd, 0, 0, 0, 0, 0);
	return answer(c, error);
}

static enum ph_verdict on_close_range(struct ph_call *c)
{
	uint64_t first = (uint32_t)c->a[0], last = (uint32_t)c->a[1];
	struct ph_walk walk;

	if (c->a[2] & PH_CLOSE_RANGE_UNSHARE) {
		ph_disarm(PH_WHY_SHARED);
		return PH_PASS;
	}
	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	ph_settle_all_held(&walk, PH_WHY_UNHANDLED);
	ph_layers_drop(&walk, ph_interest_layers, PH_WHY_UNHANDLED);
	if (!c->a[2]) {		/* not CLOSE_RANGE_CLOEXEC */
		for (uint64_t fd = first; fd <= last && fd < PH_FDS; fd++) {
			struct ph_description *d = ph_description_of((int64_t)fd);

			if (d)
				ph_description_unname(d, (int64_t)fd);
		}
		ph_fd_closed_range(first, last);
	}
	ph_walk_end(&walk);
	return PH_PASS;
}

static enum ph_verdict on_open(struct ph_call *c)
{
	struct ph_call at = *c;
	struct ph_walk walk;
	int64_t r;

	if (c->nr == PH_NR_open)
		at = (struct ph_call){ .nr = PH_NR_openat, .a = { PH_AT_FDCWD, c->a[0], c->a[1], c->a[2] } };
	else if (c->nr == PH_NR_accept)
		at = (struct ph_call){ .nr = PH_NR_accept4, .a = { c->a[0], c->a[1], c->a[2] } };
	else if (c->nr == PH_NR_creat)
		at = (struct ph_call){ .nr = PH_NR_openat, .a = { PH_AT_FDCWD, c->a[0],
				       PH_O_CREAT | PH_O_WRONLY | PH_O_TRUNC, c->a[1] } };
	if (!ph_open_leaves_streams(&at))
		ph_settle_everything(PH_WHY_UNHANDLED);
	ph_walk_begin(&walk, NULL);
	r = ph_layer_call(&walk, 0, &at);
	if (r >= 0) {
		ph_fd_opened(r);
		if (ph_description_of(r) || ph_any_file(NULL)) {
			ph_walk_hold(&walk);
			ph_take_from_others(&walk, r);
			if (ph_description_of(r))
				ph_examine(&walk, ph_description_of(r));
		}
	}
	ph_walk_end(&walk);
	return answer(c, r);
}

static enum ph_verdict on_mmap(struct ph_call *c)
{
	int64_t fd = (int32_t)c->a[4];
	struct ph_description *d;
	struct ph_identity id;
	struct ph_walk walk;

	if (c->a[3] & PH_MAP_ANONYMOUS)
		return PH_PASS;
	ph_owed_mapped(fd, c->a[3]);
	if (ph_identify(fd, &id) == 0) {
		ph_walk_begin(&walk, NULL);
		ph_walk_hold(&walk);
		ph_inode_mapped(id.dev, id.ino);
		d = ph_description_of(fd);
		if (d)
			ph_share(&walk, d, PH_WHY_SHARED);
		ph_walk_end(&walk);
	}
	return PH_PASS;
}

/* Calls without a row that pass descriptors around. */
static void on_passing(const struct ph_call *c)
{
	struct ph_walk walk;

	switch (c->nr) {
	case PH_NR_sendmsg:
	case PH_NR_sendmmsg:
		if (!ph_any_description(NULL))
			return;
		ph_walk_begin(&walk, NULL);
		if (!ph_messages_share(&walk, c)) {
			ph_walk_hold(&walk);
			ph_share_everything(&walk, PH_WHY_SHARED);
		}
		ph_walk_end(&walk);
		return;
	case PH_NR_prctl:
		if (c->a[0] == PH_PR_SET_TSC)
			ph_pay_stop();
		return;
	case PH_NR_io_uring_setup:
	case PH_NR_unshare:
	case PH_NR_setns:
		ph_disarm(PH_WHY_SHARED);
		return;
	default:
		if (ph_kept() && ph_keeper_ends(c->nr)) {
			ph_disarm(PH_WHY_SHARED);
			ph_keeper_leave();
		}
		return;
	}
}

static bool brings_descriptors(int64_t nr)
{
	return nr == PH_NR_recvmsg || nr == PH_NR_recvmmsg || nr == PH_NR_pidfd_getfd;
}

/* A call without a class of its own that names a description: only a rule that handles it sees it first. */
static bool is_handled(const struct ph_call *c)
{
	struct ph_description *d;

	if (c->nr >= PH_NR_MAX || ph_calls[c->nr].class != ANY || ph_calls[c->nr].fd_arg < 0 || !ph_layers_handle(c->nr))
		return false;
	d = ph_description_of((int32_t)c->a[ph_calls[c->nr].fd_arg]);
	return d && handles_arg(d, c->nr, ph_calls[c->nr].fd_arg);
}

/* A rule that handles the wait settles before it really waits. */
static enum ph_verdict on_wait(struct ph_call *c)
{
	struct ph_walk walk;

	if (!ph_layers_stateless(c->nr) || !ph_anything_pending()) {
		ph_settle_everything(PH_WHY_BLOCKING);
		return ph_owed_any() && ph_owed_wait(c) ? PH_ANSWERED : PH_PASS;
	}
	ph_walk_begin(&walk, NULL);
	answer(c, ph_layer_call(&walk, 0, c));
	ph_walk_end(&walk);
	return PH_ANSWERED;
}

static enum ph_verdict on_any(struct ph_call *c)
{
	struct ph_call as;

	if (ph_is_fstat(c)) {
		struct ph_call fstat = { .nr = PH_NR_fstat, .a = { c->a[0], c->a[2] } };
		enum ph_verdict verdict = on_fd(&fstat);

		c->ret = fstat.ret;
		return verdict;
	}
	if (is_handled(c)) {
		c->a[0] = (int32_t)c->a[0];
		return on_description(c, ph_description_of(c->a[0]));
	}
	ph_settle_everything(PH_WHY_BLOCKING);
	if (c->nr == PH_NR_rename || c->nr == PH_NR_renameat || c->nr == PH_NR_renameat2)
		ph_keeper_renamed();
	if (ph_calls[c->nr].fd_arg >= 0)
		ph_forget_named((int32_t)c->a[ph_calls[c->nr].fd_arg]);
	if (ph_is_renaming(c, &as) && ph_process_handles(PH_NR_renameat))
		return answer(c, ph_process_call(&as));
	if (ph_process_handles(c->nr))
		return answer(c, ph_process_call(c));
	on_passing(c);
	if (brings_descriptors(c->nr))
		ph_fds_unknown();
	return PH_PASS;
}

/* --- switches ------------------------------------------------------------------------------------------------- */

/* These layers leave this process: what they have pending is settled, and their states are gone. */
static void leave(uint32_t layers)
{
	struct ph_walk walk;

	if (ph_owed_any())
		ph_owed_settle(NULL);
	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	ph_layers_drop(&walk, layers, PH_WHY_SWITCHED_OFF);
	ph_layers_on &= ~layers;
	ph_armed = ph_layers_on != 0;
	ph_walk_end(&walk);
}

/* Throwing a switch in the control page settles what the rule has pending, and ends its work in this process. */
static bool switched_off(void)
{
	uint32_t off = 0;

	for (unsigned i = 0; i < ph_n_layers; i++)
		if ((ph_layers_on & (1u << i)) && !__atomic_load_n(&ph_layers[i].control->enabled, __ATOMIC_RELAXED))
			off |= 1u << i;
	if (__builtin_expect(__atomic_load_n(&ph_control->master, __ATOMIC_RELAXED) != 1, 0))
		off = ph_layers_on;
	if (__builtin_expect(!off, 1))
		return false;
	for (unsigned i = 0; i < ph_n_layers; i++)
		if (off & (1u << i))
			ph_count_why(i, PH_WHY_SWITCHED_OFF);
	leave(off);
	return !ph_armed;
}

/* Whether every one of these layers is on; in doubt not. */
static inline bool switched_on(uint32_t layers)
{
	if (__atomic_load_n(&ph_control->master, __ATOMIC_RELAXED) != 1)
		return false;
	for (; layers; layers &= layers - 1)
		if (!__atomic_load_n(&ph_layers[__builtin_ctz(layers)].control->enabled, __ATOMIC_RELAXED))
			return false;
	return true;
}

static inline bool is_dup(const struct ph_call *c)
{
	return c->nr == PH_NR_fcntl && ((int32_t)c->a[1] == PH_F_DUPFD || (int32_t)c->a[1] == PH_F_DUPFD_CLOEXEC);
}

/* What concerns the number only, not the description. */
static inline bool is_of_descriptor(const struct ph_call *c)
{
	return c->nr == PH_NR_fcntl && ((int32_t)c->a[1] == PH_F_GETFD || (int32_t)c->a[1] == PH_F_SETFD);
}

static __attribute__((noinline)) bool answered_timed(const struct ph_call *c, int64_t fd, struct ph_description *d,
						      int64_t *ret)
{
	unsigned first = (unsigned)__builtin_ctz(d->handled);
	uint64_t start = ph_ticks();

	if (!answered_on_trial(c, fd, d, ret))
		return false;
	if (start)
		ph_pay_call(first, ph_ticks() - start, true);
	return true;
}

PH_HOT bool ph_answer(const struct ph_call *c, int64_t *ret)
{
	const struct answerable *row;
	struct ph_description *d;
	int64_t fd;

	if ((uint64_t)c->nr >= PH_NR_MAX)
		return false;
	row = &answerable[c->nr];
	if (!row->layers || !ph_armed || ph_hold_forked() || is_dup(c) || is_of_descriptor(c))
		return false;
	fd = (int32_t)c->a[row->fd_arg];	/* the kernel takes 32 bits of it */
	d = ph_description_of(fd);
	if (__builtin_expect(ph_naps_used, 0))
		ph_naps_end();
	if (!d || !(d->handled & row->layers) || !switched_on(d->handled))
		return false;
	return ph_pay_due() ? answered_timed(c, fd, d, ret) : answered_on_trial(c, fd, d, ret);
}

enum ph_verdict ph_dispatch(struct ph_call *c)
{
	if (!ph_armed)
		return PH_PASS;
	adopt_child();
	if (!ph_armed)
		return PH_PASS;
	if (ph_naps_used && !ph_is_sleep(c->nr))
		ph_naps_end();
	if (ph_absent_used)
		ph_absent_before(c);
	if (closes_handled && c->nr != PH_NR_close)
		ph_fds_may_change();
	if (switched_off())
		return PH_PASS;
	if (ph_owed_any() && !ph_owed_may_wait(c))
		ph_owed_settle(NULL);
	if (c->nr < 0 || c->nr >= PH_NR_MAX) {
		ph_settle_everything(PH_WHY_BLOCKING);
		return PH_PASS;
	}
	switch ((enum call_class)ph_calls[c->nr].class) {
	case INERT:
		if (ph_calls[c->nr].fd_arg >= 0)
			return on_inert(c);
		return ph_process_handles(c->nr) ? answer(c, ph_process_call(c)) : PH_PASS;
	case FD:
		if (is_dup(c))
			return on_dup(c, (int32_t)c->a[0], -1);
		return is_of_descriptor(c) ? PH_PASS : on_fd(c);
	case MAPS:
		return on_mmap(c);
	case DUP:
		return on_dup(c, (int32_t)c->a[0], ph_calls[c->nr].fd_arg2 >= 0 ? (int32_t)c->a[1] : -1);
	case CLOSE:
		return on_close(c);
	case CLOSES:
		return on_close_range(c);
	case OPEN:
		return on_open(c);
	case FORK:
		/* The engine brackets it by ph_fork_begin and ph_fork_end. */
		return PH_PASS;
	case EXEC:
		ph_settle_everything(PH_WHY_EXEC);
		return PH_PASS;
	case EXIT:
		ph_settle_everything(PH_WHY_EXIT);
		return PH_PASS;
	case WAIT:
		return on_wait(c);
	case ANY:
		return on_any(c);
	}
	return on_any(c);
}

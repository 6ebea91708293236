/* Calls on descriptions that rules have state on, and calls without a class of their own. */
#include "classes.h"
#include "examined.h"
#include "interest.h"
#include "keeper.h"
#include "messages.h"
#include "opens.h"
#include "owed.h"
#include "pipes.h"
#include "process.h"
#include "run.h"
#include "spelling.h"

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
	return d->handled & ph_layers_handling(nr);
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
		verdict = ph_answered_by(c, error);
	} else if (some_layer_handles(d, c->nr)) {
		verdict = ph_answered_by(c, ph_layer_call(&walk, 0, c));
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
			verdict = ph_answered_by(c, r);
	}
out:
	ph_walk_end(&walk);
	return verdict;
}

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
enum ph_verdict ph_on_inert(struct ph_call *c)
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
			verdict = ph_answered_by(c, r);
	}
	if (verdict == PH_PASS && walk.d) {
		verdict = ph_answered_by(c, ph_layer_call(&walk, 0, c));
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

enum ph_verdict ph_on_fd(struct ph_call *c)
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
	case PH_NR_io_submit:	/* what is asked for outlives the close of its descriptor, and keeps it in interest lists */
		ph_walk_begin(&walk, NULL);
		ph_walk_hold(&walk);
		ph_layers_drop(&walk, ph_interest_layers, PH_WHY_SHARED);
		ph_walk_end(&walk);
		return;
	case PH_NR_io_uring_setup:
	case PH_NR_unshare:
	case PH_NR_setns:
		ph_disarm(PH_WHY_SHARED);
		return;
	default:
		return;
	}
}

/* Nothing is pending. Where it fails, the process is who it was: squid asks in vain to be root before some opens. */
static enum ph_verdict become_another(struct ph_call *c)
{
	int64_t r = ph_process_handles(c->nr) ? ph_process_call(c) :
		    ph_syscall(c->nr, c->a[0], c->a[1], c->a[2], c->a[3], c->a[4], c->a[5]);

	if (r >= 0) {
		ph_disarm(PH_WHY_SHARED);
		ph_keeper_leave();
	}
	return ph_answered_by(c, r);
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

/* A call without a class of its own that leaves nothing behind, as far as no rule handles it. */
bool ph_any_is_plain(int64_t nr)
{
	switch (nr) {
	case PH_NR_rename:
	case PH_NR_renameat:
	case PH_NR_renameat2:
	case PH_NR_sendmsg:
	case PH_NR_sendmmsg:
	case PH_NR_prctl:
	case PH_NR_io_submit:
	case PH_NR_io_uring_setup:
	case PH_NR_unshare:
	case PH_NR_setns:
		return false;
	default:
		return !ph_process_handles(nr) && !ph_keeper_ends(nr) && !brings_descriptors(nr);
	}
}

/* A rule that handles the wait settles before it really waits. */
enum ph_verdict ph_on_wait(struct ph_call *c)
{
	struct ph_walk walk;

	if (!ph_layers_stateless(c->nr) || !ph_anything_pending()) {
		ph_settle_everything(PH_WHY_BLOCKING);
		return ph_owed_any() && ph_owed_wait(c) ? PH_ANSWERED : PH_PASS;
	}
	ph_walk_begin(&walk, NULL);
	ph_answered_by(c, ph_layer_call(&walk, 0, c));
	ph_walk_end(&walk);
	return PH_ANSWERED;
}

enum ph_verdict ph_on_any(struct ph_call *c)
{
	struct ph_call as;

	if (ph_is_fstat(c)) {
		struct ph_call fstat = { .nr = PH_NR_fstat, .a = { c->a[0], c->a[2] } };
		enum ph_verdict verdict = ph_on_fd(&fstat);

		c->ret = fstat.ret;
		return verdict;
	}
	if (is_handled(c)) {
		c->a[0] = (int32_t)c->a[0];
		return on_description(c, ph_description_of(c->a[0]));
	}
	ph_settle_everything(PH_WHY_BLOCKING);
	ph_settle_places(PH_WHY_BLOCKING);
	if (c->nr == PH_NR_rename || c->nr == PH_NR_renameat || c->nr == PH_NR_renameat2)
		ph_keeper_renamed();
	if (ph_calls[c->nr].fd_arg >= 0)
		ph_forget_named((int32_t)c->a[ph_calls[c->nr].fd_arg]);
	if (ph_is_renaming(c, &as) && ph_process_handles(PH_NR_renameat))
		return ph_answered_by(c, ph_process_call(&as));
	if (ph_kept() && ph_keeper_ends(c->nr))
		return become_another(c);
	if (ph_process_handles(c->nr))
		return ph_answered_by(c, ph_process_call(c));
	if (ph_examined_rule && ph_changes_made(c))
		return PH_ANSWERED;
	on_passing(c);
	if (brings_descriptors(c->nr))
		ph_fds_unknown();
	return PH_PASS;
}

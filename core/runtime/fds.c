/* Calls that make descriptors, copy them, map what they name, and close them. */
#include "classes.h"
#include "interest.h"
#include "opens.h"
#include "owed.h"

/* Each of a description's descriptors has bits of its own: what is known of the only one is set, and forgotten. */
static void leave_bits(int64_t fd)
{
	struct ph_walk walk;
	struct ph_description *d;

	if (!ph_bit_layers || !ph_description_of(fd))
		return;
	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	d = ph_description_of(fd);
	for (uint32_t left = d ? ph_bit_layers : 0; left; left &= left - 1) {
		ph_layer_settle(&walk, (unsigned)__builtin_ctz(left), d, PH_WHY_COUNT);
		ph_layer_forget(&walk, (unsigned)__builtin_ctz(left), d);
	}
	ph_walk_end(&walk);
}

/* A new number for a description, whose old meaning is closed first. */
enum ph_verdict ph_on_dup(struct ph_call *c, int64_t from, int64_t to)
{
	struct ph_description *d;
	struct ph_walk walk;
	int64_t r;

	ph_leave_lists(from);
	leave_bits(from);
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
	return ph_answered_by(c, r);
}

/* Its last descriptor is closed: where it stands is nobody's concern any more, and it leaves the interest lists by itself. */
static int64_t end(struct ph_walk *walk, struct ph_description *d)
{
	ph_hits_gather(d);
	d->handled &= ~(ph_place_layers | ph_interest_layers);
	return ph_description_settle(walk, d, PH_WHY_COUNT);
}

enum ph_verdict ph_on_close(struct ph_call *c)
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
				error = end(&walk, d);
			ph_description_unname(d, fd);
		}
		ph_walk_end(&walk);
	}
	if (!d && ph_layers_stateless(PH_NR_close)) {
		ph_walk_begin(&walk, NULL);
		ph_answered_by(c, ph_layer_call(&walk, 0, c));
		ph_walk_end(&walk);
		ph_fd_closed(fd);
		return PH_ANSWERED;
	}
	ph_fd_closed(fd);
	if (!error)
		return PH_PASS;
	ph_syscall(PH_NR_close, fd, 0, 0, 0, 0, 0);
	return ph_answered_by(c, error);
}

enum ph_verdict ph_on_close_range(struct ph_call *c)
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
	if (c->a[2]) {		/* CLOSE_RANGE_CLOEXEC */
		ph_settle_places_held(&walk, PH_WHY_UNHANDLED);
		for (unsigned i = 0; i < ph_descriptions_used; i++)
			if (ph_description_at(i)->fds)
				ph_description_forget(&walk, ph_description_at(i));
	} else {
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

enum ph_verdict ph_on_open(struct ph_call *c)
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
	if (ph_open_leaves_streams(&at))
		ph_settle_files(PH_WHY_UNHANDLED);
	else
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
	return ph_answered_by(c, r);
}

enum ph_verdict ph_on_mmap(struct ph_call *c)
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

#include "isolated.h"

#include "numbers.h"
#include "run.h"

#define FIRST 32		/* calls of a rule that are all looked at, in each process; then */
#define EVERY 61		/* one in so many: a prime, as for times */
#define LOOKED_AT 256		/* bytes of a read or a write that are compared */
#define IS_IDENTITY(nr) ((nr) == PH_NR_getpid || (nr) == 102 || (nr) == 104 || (nr) == 107 || (nr) == 108)

static uint32_t turns[PH_RULES_MAX];

static int64_t position(int64_t fd)
{
	return ph_syscall(PH_NR_lseek, fd, 0, PH_SEEK_CUR, 0, 0, 0);
}

/* Calls that change nothing: the kernel is asked too, and its answer compared. */
static bool only_asks(const struct ph_call *c)
{
	if (c->nr == PH_NR_fcntl)
		return (int32_t)c->a[1] == PH_F_GETFL || (int32_t)c->a[1] == PH_F_GETFD;
	return IS_IDENTITY(c->nr);
}

static bool reads(int64_t nr)
{
	return nr == PH_NR_read || nr == PH_NR_pread64;
}

void ph_check_begin(struct ph_walk *walk, unsigned layer, const struct ph_call *call, struct ph_check *check)
{
	bool looks = only_asks(call) || (walk->d && (reads(call->nr) || call->nr == PH_NR_write || call->nr == PH_NR_lseek));
	uint32_t turn;

	*check = (struct ph_check){ 0 };
	/* What was taken from a pipe or a socket is there no more, to be compared. */
	if (!looks || (walk->d && walk->d->identified && !walk->d->regular))
		return;
	if (walk->trial) {
		walk->aborted = true;
		return;
	}
	turn = turns[layer]++;
	check->due = turn < FIRST || turn % EVERY == 0;
	if (!check->due || !walk->d || reads(call->nr))	/* a settle would make it read what it might have kept */
		return;
	if (ph_layer_settle(walk, layer, walk->d, PH_WHY_COUNT) < 0)
		check->due = false;	/* its error is on its way */
	else
		check->offset = position(call->a[0]);
}

/* Whether the end of n bytes of the program's memory, from `user` on, is what the file holds from `at` on. */
static bool same_bytes(int64_t fd, int64_t user, int64_t n, int64_t at)
{
	uint8_t theirs[LOOKED_AT], held[LOOKED_AT];
	int64_t skip = n > LOOKED_AT ? n - LOOKED_AT : 0, got;

	n -= skip;
	got = ph_syscall(PH_NR_pread64, fd, (int64_t)held, n, at + skip, 0, 0);
	if (got == -PH_EBADF)	/* opened for writing only: the offset has to do */
		return true;
	if (got != n || ph_copy_in(theirs, (const void *)(user + skip), (size_t)n) < 0)
		return false;
	for (int64_t i = 0; i < n; i++)
		if (theirs[i] != held[i])
			return false;
	return true;
}

/* The object after settling against what the call should have made of it. */
static bool as_predicted(const struct ph_call *c, const struct ph_check *check, int64_t r)
{
	int64_t fd = c->a[0], flags;

	switch (c->nr) {
	case PH_NR_lseek:
		return position(fd) == r;
	case PH_NR_read:
		return same_bytes(fd, c->a[1], r, position(fd) - r);
	case PH_NR_pread64:
		return same_bytes(fd, c->a[1], r, c->a[3]);
	}
	flags = ph_syscall(PH_NR_fcntl, fd, PH_F_GETFL, 0, 0, 0, 0);
	if (flags < 0 || flags & PH_O_APPEND)	/* others may append as well: the end is anybody's */
		return flags < 0 || position(fd) >= r;
	return position(fd) == check->offset + r && same_bytes(fd, c->a[1], r, check->offset);
}

int64_t ph_check_end(struct ph_walk *walk, unsigned layer, const struct ph_call *call, const struct ph_check *check,
		     int64_t r)
{
	bool right;

	if (only_asks(call)) {
		int64_t own = ph_layer_call(walk, layer + 1, call);

		right = own == r;
		r = own;
	} else {
		int64_t settled = walk->d ? ph_layer_settle(walk, layer, walk->d, PH_WHY_COUNT) : 0;

		if (settled < 0 || r < 0 || check->offset < 0)	/* an error has to come from a call: nothing to compare */
			return r;
		right = as_predicted(call, check, r);
	}
	if (right)
		return r;
	ph_count_why(layer, PH_WHY_WRONG);
	ph_layer_off(layer, PH_WHY_WRONG);
	if (only_asks(call) || (call->nr == PH_NR_write && position(call->a[0]) != check->offset))
		return r;
	/* As it was before the rule had its way: then the call as the program made it. */
	if (call->nr != PH_NR_pread64)
		ph_syscall(PH_NR_lseek, call->a[0], call->nr == PH_NR_read ? position(call->a[0]) - r : check->offset,
			   PH_SEEK_SET, 0, 0, 0);
	return ph_layer_call(walk, layer + 1, call);
}

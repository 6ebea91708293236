/* Descriptions that come to this process: those that it opens, those that it was started with; and what becomes of the
 * ones that rules may not act on. */
#include "opens.h"

#include "engine.h"
#include "keeper.h"
#include "numbers.h"
#include "run.h"

void ph_walk_begin(struct ph_walk *walk, struct ph_description *d)
{
	*walk = (struct ph_walk){ .d = d, .stamp = ph_window_stamp() };
}

static void count_hits(uint32_t layers)
{
	for (; layers; layers &= layers - 1)
		ph_layers[__builtin_ctz(layers)].hits++;
}

void ph_walk_end(struct ph_walk *walk)
{
	bool held = walk->held;

	count_hits(walk->hits);
	if (held)
		ph_hits_publish();
	ph_walk_release(walk);
}

/* Shared descriptions are never handled again; one with an error that no call has reported yet waits for that call. */
void ph_share(struct ph_walk *walk, struct ph_description *d, enum ph_why why)
{
	int64_t r = ph_description_settle(walk, d, why);

	if (r < 0 && !d->error)
		d->error = r;
	if (d->error)
		d->handled = 0;
	else
		ph_description_drop(d, false);
}

void ph_share_everything(struct ph_walk *walk, enum ph_why why)
{
	for (unsigned i = 0; i < ph_descriptions_used; i++)
		if (ph_description_at(i)->fds)
			ph_share(walk, ph_description_at(i), why);
}

void ph_share_counted(struct ph_walk *walk, struct ph_description *d, enum ph_why why)
{
	for (unsigned i = 0; i < ph_n_layers; i++)
		if (d->handled & (1u << i))
			ph_count_why(i, why);
	ph_share(walk, d, why);
}

static bool has_pending(struct ph_walk *walk, struct ph_description *d)
{
	for (unsigned i = 0; i < ph_n_layers; i++)
		if ((d->handled & ~ph_place_layers & (1u << i)) && ph_run_pending(walk, i, d))
			return true;
	return false;
}

void ph_mark_pending(struct ph_walk *walk, struct ph_description *d)
{
	if (has_pending(walk, d)) {
		ph_keeper_place(walk, d);
		ph_dirty_set(d);
	} else {
		ph_hits_gather(d);
		ph_dirty_clear(d);
	}
}

bool ph_any_description(const struct ph_description *but)
{
	for (unsigned i = 0; i < ph_descriptions_used; i++)
		if (ph_description_at(i)->fds && ph_description_at(i) != but)
			return true;
	return false;
}

bool ph_any_file(const struct ph_description *but)
{
	for (unsigned i = 0; ph_file_layers && i < ph_descriptions_used; i++) {
		const struct ph_description *d = ph_description_at(i);

		if (d->fds && d != but && (d->handled & ph_file_layers))
			return true;
	}
	return false;
}

static bool pending_of(uint32_t layers)
{
	struct ph_walk walk;

	if (!ph_anything_pending())
		return false;
	ph_walk_begin(&walk, NULL);
	for (unsigned i = 0; i < ph_descriptions_used; i++) {
		struct ph_description *d = ph_description_at(i);

		for (uint32_t left = ph_dirty_test(d) ? d->handled & layers : 0; left; left &= left - 1)
			if (ph_run_pending(&walk, (unsigned)__builtin_ctz(left), d))
				return true;
	}
	return false;
}

bool ph_files_pending(void)
{
	return pending_of(ph_file_layers & ~ph_place_layers);
}

bool ph_open_leaves_streams(const struct ph_call *at)
{
	struct ph_identity id;
	int64_t r;

	if (at->nr != PH_NR_openat || !ph_anything_pending())
		return false;
	/* No open tells what is pending in an interest list. */
	if (!pending_of(~(ph_file_layers | ph_interest_layers)))
		return true;
	/* To open a FIFO or a device may take until somebody who waits for what is kept does something. */
	r = ph_identify_at(at->a[0], at->a[1], &id);
	return r == -PH_ENOENT || (r == 0 && ((id.mode & PH_S_IFMT) == PH_S_IFREG || (id.mode & PH_S_IFMT) == PH_S_IFDIR));
}

/* The layers on d whose state goes when the process has the file open elsewhere, or mapped. */
static uint32_t needs_alone(const struct ph_description *d)
{
	uint32_t layers = 0;

	for (unsigned i = 0; i < ph_n_layers; i++)
		if (!ph_layers[i].rule->not_alone)
			layers |= 1u << i;
	return layers & d->handled;
}

static void not_alone(struct ph_walk *walk, struct ph_description *d)
{
	uint32_t leave = needs_alone(d);
	int64_t r;

	if (leave == d->handled) {
		ph_share_counted(walk, d, PH_WHY_NOT_ALONE);
		return;
	}
	r = ph_description_settle(walk, d, PH_WHY_NOT_ALONE);
	if (r < 0 && !d->error)
		d->error = r;
	for (uint32_t left = leave; left; left &= left - 1)
		ph_count_why((unsigned)__builtin_ctz(left), PH_WHY_NOT_ALONE);
	d->handled &= ~leave;
}

void ph_examine(struct ph_walk *walk, struct ph_description *d)
{
	struct ph_k k = { .walk = walk };

	for (k.layer = 0; k.layer < ph_n_layers; k.layer++) {
		if (!(d->handled & (1u << k.layer)) || ph_regular(&k, d->fd))
			continue;
		if (ph_layers[k.layer].rule->streams && d->identified && ph_is_stream(d->fd))
			continue;
		if (ph_layers[k.layer].rule->pipes)	/* they have no others than pipes.c has looked at */
			continue;
		if (!d->regular) {
			ph_share_counted(walk, d, PH_WHY_NOT_REGULAR);
			return;
		}
		ph_count_why(k.layer, PH_WHY_MOUNT);
		ph_layer_settle(walk, k.layer, d, PH_WHY_MOUNT);
		d->handled &= ~(1u << k.layer);
	}
	if (!d->handled) {
		ph_description_drop(d, false);
		return;
	}
	if (needs_alone(d) && !ph_fd_alone(d))
		not_alone(walk, d);
	else
		ph_mark_pending(walk, d);
}

void ph_take_from_others(struct ph_walk *walk, int64_t fd)
{
	struct ph_description *mine = ph_description_of(fd);

	if (!ph_any_file(mine) || ph_walk_identify(walk, fd) < 0)
		return;
	for (unsigned i = 0; i < ph_descriptions_used; i++) {
		struct ph_description *d = ph_description_at(i);

		if (d->fds && d != mine && d->identified && d->dev == walk->known.dev && d->ino == walk->known.ino)
			not_alone(walk, d);
	}
}

/* --- descriptions that come from, or go to, another program of the same process -------------------------------- */

/* `> file 2>&1`: two descriptors of one description. Where the kernel can't tell, they are two that are not alone. */
static void name_duplicates(struct ph_description *d)
{
	int64_t pid = ph_syscall(PH_NR_getpid, 0, 0, 0, 0, 0, 0);
	int64_t fd = d->fd;

	for (int64_t other = 0; other < PH_FDS && other <= ph_fd_highest(); other++)
		if (other != fd && !ph_description_of(other) &&
		    ph_syscall(PH_NR_kcmp, pid, pid, PH_KCMP_FILE, fd, other, 0) == 0)
			ph_description_name(d, other);
}

/* What fd names already, as if the program had just opened it by this call. */
static void adopt_by(int64_t fd, const struct ph_call *c)
{
	struct ph_walk walk;

	ph_walk_begin(&walk, NULL);
	walk.adopts = fd + 1;
	if (ph_layer_call(&walk, 0, c) == fd) {
		ph_walk_hold(&walk);
		ph_take_from_others(&walk, fd);
		if (ph_description_of(fd)) {
			name_duplicates(ph_description_of(fd));
			if (ph_description_of(fd)->fds > 1)
				ph_description_forget(&walk, ph_description_of(fd));
			ph_examine(&walk, ph_description_of(fd));
		}
	}
	ph_walk_end(&walk);
}

void ph_adopt_pipe(int64_t fd)
{
	struct ph_call c = { .nr = PH_NR_pipe2 };

	adopt_by(fd, &c);
}

void ph_adopt(int64_t fd)
{
	char path[PH_FD_PATH];
	struct ph_call c = { .nr = PH_NR_openat, .a = { PH_AT_FDCWD } };
	int64_t flags;
	struct ph_identity id;

	if (!ph_armed || fd < 0 || fd >= PH_FDS || ph_description_of(fd) || ph_identify(fd, &id) < 0 ||
	    (id.mode & PH_S_IFMT) != PH_S_IFREG || ph_syscall(PH_NR_lseek, fd, 0, PH_SEEK_CUR, 0, 0, 0) != 0)
		return;
	flags = ph_syscall(PH_NR_fcntl, fd, PH_F_GETFL, 0, 0, 0, 0);
	if (flags < 0)
		return;
	ph_fd_path(path, fd);
	c.a[1] = (int64_t)path;
	c.a[2] = flags & ~(int64_t)(PH_O_CREAT | PH_O_EXCL | PH_O_TRUNC);
	if (ph_syscall(PH_NR_fcntl, fd, PH_F_GETFD, 0, 0, 0, 0) & PH_FD_CLOEXEC)
		c.a[2] |= PH_O_CLOEXEC;
	adopt_by(fd, &c);
}

bool ph_own_descriptors(char *list, size_t room)
{
	size_t n = 0;

	list[0] = 0;
	/* Another thread could share one at this moment. */
	if (!ph_armed || ph_hold_forked() || ph_hold_threaded() || ph_anything_pending())
		return false;
	for (int64_t fd = 0; fd < 100 && n + 4 < room; fd++) {
		const struct ph_description *d = ph_description_of(fd);

		if (!d || !d->handled || d->error || (ph_syscall(PH_NR_fcntl, fd, PH_F_GETFD, 0, 0, 0, 0) & PH_FD_CLOEXEC))
			continue;
		if (n)
			list[n++] = ',';
		if (fd >= 10)
			list[n++] = (char)('0' + fd / 10);
		list[n++] = (char)('0' + fd % 10);
		list[n] = 0;
	}
	return n > 0;
}

/* The runtime's code in the keeper: settles what a process has pending, by the rules' own code, from outside. */
#include "keeper.h"

#include "numbers.h"
#include "opens.h"
#include "owed.h"
#include "run.h"

static int64_t settle(const struct ph_keep *keep);
static int sync_in_time(void *control, int often_ms, int seldom_ms);
static uint32_t examining(const void *control);

__attribute__((visibility("default"), used)) const struct ph_keeping ph_keeping = {
	.magic = PH_KEEPING_MAGIC,
	.version = PH_KEEPING_VERSION,
	.size_bytes = sizeof(struct ph_keeping),
	.slot_bytes = sizeof(struct ph_region),
	.settle = settle,
	.sync = sync_in_time,
	.examining = examining,
};

static bool is_it(int64_t fd, const struct ph_description *d, struct ph_identity *id)
{
	return d->identified && ph_identify(fd, id) == 0 && id->dev == d->dev && id->ino == d->ino;
}

static void put_back(int64_t fd)
{
	if (fd >= 0)
		ph_syscall(PH_NR_close, fd, 0, 0, 0, 0, 0);
}

/* The living process's own description. */
static int64_t borrow(int32_t process, const struct ph_description *d)
{
	struct ph_identity id;
	int64_t fd = ph_syscall(PH_NR_pidfd_getfd, process, d->fd, 0, 0, 0, 0);

	if (fd < 0 || is_it(fd, d, &id))
		return fd;
	put_back(fd);
	return -PH_ENOENT;
}

/* The file of a description that is no more, where its process had got to. Not when the file is shorter than it was, or
 * another of the same number: somebody began it anew, and what is pending is older than that. Looked at before it is
 * opened, since opening a device or a FIFO that now has the name may do something. */
static int64_t reopen(const struct ph_description *d, const struct ph_kept *kept)
{
	int64_t at, fd = -PH_ENOENT, r = 0;
	char path[PH_FD_PATH_OF];
	struct ph_identity id;

	if (!d->regular || kept->path[0] != '/' || kept->flags < 0)
		return -PH_ENOENT;
	at = ph_syscall(PH_NR_openat, PH_AT_FDCWD, (int64_t)kept->path, PH_O_PATH | PH_O_CLOEXEC, 0, 0, 0);
	if (at < 0)
		return at;
	if (is_it(at, d, &id) && id.born_ns == kept->born_ns && (uint64_t)id.size >= kept->size) {
		ph_fd_path_of(path, 0, at);
		fd = ph_syscall(PH_NR_openat, PH_AT_FDCWD, (int64_t)path,
				(kept->flags & (PH_O_ACCMODE | PH_O_APPEND)) | PH_O_CLOEXEC, 0, 0, 0);
	}
	put_back(at);
	if (fd >= 0)
		r = ph_syscall(PH_NR_lseek, fd, kept->position, PH_SEEK_SET, 0, 0, 0);
	if (r >= 0)
		return fd;
	put_back(fd);
	return r;
}

/* What changes what others see, and nothing else: what a process knows of its file stays. */
static int64_t settle_layers(struct ph_walk *walk, struct ph_description *d, enum ph_why why)
{
	int64_t first = 0;

	for (unsigned i = 0; i < ph_n_layers; i++) {
		int64_t r = ph_layers[i].rule->effects ? ph_layer_settle(walk, i, d, why) : 0;

		if (r < 0 && !first)
			first = r;
	}
	ph_mark_pending(walk, d);
	return first;
}

static bool effects_pending(struct ph_walk *walk, struct ph_description *d)
{
	for (unsigned i = 0; i < ph_n_layers; i++)
		if ((d->handled & (1u << i)) && ph_layers[i].rule->effects && ph_run_pending(walk, i, d))
			return true;
	return false;
}

/* What was read of a pipe and is still in it: the pipe's only reader is gone, and nobody misses anything. */
static bool died_with_it(const struct ph_description *d)
{
	for (unsigned i = 0; i < ph_n_layers; i++)
		if ((d->handled & (1u << i)) && !ph_layers[i].rule->pipes)
			return false;
	return true;
}

static void settle_one(const struct ph_keep *keep, struct ph_description *d)
{
	struct ph_walk walk = { .held = true };
	struct ph_kept *kept = &ph_region.kept[ph_description_index(d)];
	bool gone = keep->process < 0, again = atomic_load(&kept->settling);
	int64_t fd, r;

	/* A kill came before the call could return that made it pending: it was not made. */
	if ((!again && (d->unplaced || !effects_pending(&walk, d))) || (gone && died_with_it(d)))
		return;
	if (!gone && kept->since >= keep->before)
		return;
	fd = gone ? reopen(d, kept) : borrow(keep->process, d);
	if (fd >= 0 && fd < PH_FDS) {
		walk.stand_in = fd + 1;
		ph_stand_in(fd, d);
		r = again ? ph_keeper_again(&walk, d, fd) : settle_layers(&walk, d, gone ? PH_WHY_KILLED : PH_WHY_DEADLINE);
		ph_stand_in(fd, NULL);
		if (r < 0 && !d->error)
			d->error = r;
	} else {
		r = fd < 0 ? fd : -PH_EBADF;
	}
	put_back(fd);
	if (gone && r < 0)
		__atomic_fetch_add(&ph_control->kept_lost, 1, __ATOMIC_RELAXED);
}

static bool somebody_tries(void)
{
	uint64_t ticket = atomic_load(&ph_region.head.local);

	return ph_trial_on(ticket);
}

/* Firmly, as a thread of the process does it. One without threads makes its trials without locks: it has to have seen us
 * as the owner before we look whether it is in one. */
static bool take(void)
{
	struct ph_head *head = &ph_region.head;
	uint64_t nobody = 0;

	if (!head->fenced || !atomic_compare_exchange_strong(&head->owner, &nobody, PH_OWNER_KEEPER))
		return false;
	if (ph_syscall(PH_NR_membarrier, PH_MEMBARRIER_GLOBAL_EXPEDITED, 0, 0, 0, 0, 0) == 0 && !somebody_tries())
		return true;
	atomic_store(&head->owner, 0);
	return false;
}

static int64_t settle(const struct ph_keep *keep)
{
	int64_t at = ph_syscall(PH_NR_mmap, (int64_t)&ph_region, sizeof(ph_region), PH_PROT_READ | PH_PROT_WRITE,
				PH_MAP_SHARED | PH_MAP_FIXED | PH_MAP_NORESERVE, keep->memory, (int64_t)keep->offset);

	if (at < 0)
		return at;
	if (ph_layers_choose(keep->control, ph_region.head.layers) < 0)
		return -PH_ENOENT;
	if (keep->process >= 0 && !take())
		return -PH_EBUSY;
	ph_descriptions_used = PH_DESCRIPTIONS;
	for (unsigned i = 0; i < PH_DESCRIPTIONS; i++) {
		struct ph_description *d = ph_description_at(i);

		if (ph_dirty_test(d) && d->fds && d->index == i)
			settle_one(keep, d);
	}
	ph_hits_publish();
	if (keep->process >= 0)
		atomic_store(&ph_region.head.owner, 0);
	return 0;
}

static int sync_in_time(void *control, int often_ms, int seldom_ms)
{
	ph_control = control;
	return ph_owed_look(often_ms, seldom_ms);
}

static uint32_t examining(const void *control)
{
	return ph_layers_examining(control);
}

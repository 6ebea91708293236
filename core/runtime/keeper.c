/* What is pending, kept where it outlives the program.
 *
 * The region (descriptions, buffers, the words that say who holds them) lies in the library's own data, so that getting
 * at it costs nothing; a slot of the keeper's memfd is mapped over it when the first effect becomes pending. A fork's
 * child maps memory of its own over it before it does anything.
 *
 * When the program is gone the keeper opens the file by its name, and takes it only if it is the same. The order of steps
 * is such that a kill between any two of them leaves enough: a place is on record before anything is pending, and
 * the states that a settle began with until it has ended. A settle that was cut short is done from its beginning: its
 * writes go to the same places with the same bytes; only appended ones have to be looked for. */
#include "keeper.h"

#include "numbers.h"
#include "opens.h"
#include "spelling.h"

enum { HEAD_BYTES = sizeof(struct ph_head) };

void *memcpy(void *restrict to, const void *restrict from, size_t n);

static bool tried;

static char *put(char *to, const char *text)
{
	while (*text)
		*to++ = *text++;
	return to;
}

static char *put_number(char *to, uint64_t number)
{
	char digits[20];
	unsigned n = 0;

	do
		digits[n++] = (char)('0' + number % 10);
	while (number /= 10);
	while (n)
		*to++ = digits[--n];
	return to;
}

void ph_fd_path_of(char to[PH_FD_PATH_OF], uint64_t pid, int64_t fd)
{
	to = put(to, "/proc/");
	to = pid ? put_number(to, pid) : put(to, "self");
	*put_number(put(to, "/fd/"), (uint64_t)fd) = 0;
}

/* --- joining and leaving --------------------------------------------------------------------------------- */

int64_t ph_keeper_memory(void)
{
	const struct ph_control *c = ph_control;
	char path[PH_FD_PATH_OF];
	struct ph_identity id;
	int64_t fd;

	ph_fd_path_of(path, c->keeper_pid, c->keeper_fd);
	fd = ph_syscall(PH_NR_openat, PH_AT_FDCWD, (int64_t)path, PH_O_RDWR | PH_O_CLOEXEC, 0, 0, 0);
	if (fd < 0 || (ph_identify(fd, &id) == 0 && id.dev == c->keeper_dev && id.ino == c->keeper_ino))
		return fd;
	ph_syscall(PH_NR_close, fd, 0, 0, 0, 0, 0);
	return -PH_ENOENT;
}

static struct ph_head *map_head(int64_t memory, unsigned slot)
{
	int64_t at = ph_syscall(PH_NR_mmap, 0, HEAD_BYTES, PH_PROT_READ | PH_PROT_WRITE, PH_MAP_SHARED, memory,
				(int64_t)(slot * sizeof(struct ph_region)));

	return at < 0 ? NULL : (struct ph_head *)at;
}

/* The slot of the program that this process was before its exec, if that has nothing left in it. */
static bool clear_old(int64_t memory, unsigned slot)
{
	struct ph_head *old = map_head(memory, slot);
	bool clean = old != NULL;

	for (unsigned i = 0; old && i < PH_DIRTY_WORDS; i++)
		clean = clean && !atomic_load(&old->dirty[i]);
	if (old)
		ph_syscall(PH_NR_munmap, (int64_t)old, HEAD_BYTES, 0, 0, 0, 0);
	return clean && ph_syscall(PH_NR_fallocate, memory, PH_FALLOC_KEEP_SIZE | PH_FALLOC_PUNCH_HOLE,
				   (int64_t)(slot * sizeof(struct ph_region)), sizeof(struct ph_region), 0, 0) == 0;
}

/* A slot for process `pid`, or -1. */
static int take_slot(int64_t memory, uint32_t pid)
{
	for (unsigned i = 0; i < PH_SLOTS; i++) {
		unsigned slot = (pid + i) % PH_SLOTS;
		uint32_t whose = 0;

		if (__atomic_compare_exchange_n(&ph_control->slots[slot], &whose, pid, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED) ||
		    (whose == pid && clear_old(memory, slot)))
			return (int)slot;
	}
	return -1;
}

static uint32_t layer_bits(void)
{
	uint32_t bits = 0;

	for (unsigned i = 0; i < ph_n_layers; i++)
		bits |= 1u << ph_layers[i].index;
	return bits;
}

/* What this process has had to itself so far. */
static void copy_region(struct ph_region *to)
{
	static const struct ph_walk here;

	for (unsigned i = 0; i < ph_descriptions_used; i++) {
		struct ph_description *d = ph_description_at(i);

		memcpy(&to->descriptions[i], d, sizeof(*d));
		memcpy(&to->kept[i], &ph_region.kept[i], sizeof(ph_region.kept[i]));
		for (unsigned layer = 0; layer < ph_n_layers; layer++)
			if (d->fds && d->buffer[layer])
				memcpy(to->buffers[d->buffer[layer] - 1], ph_buffer_of(d, layer),
					   (size_t)ph_state_of(&here, d, layer)->len);
	}
	for (unsigned i = 0; i < PH_DIRTY_WORDS; i++)
		atomic_store(&to->head.dirty[i], atomic_load(&ph_region.head.dirty[i]));
	/* We are the owner, and others may be waiting for us. */
	atomic_store(&to->head.owner, atomic_load(&ph_region.head.owner));
	atomic_store(&to->head.local, atomic_load(&ph_region.head.local));
	atomic_store(&to->head.ended, atomic_load(&ph_region.head.ended));
}

/* Signals held back: one that is deferred says so in what is copied. */
static void map_slot(int64_t memory, unsigned slot, uint32_t pid)
{
	int64_t at = ph_syscall(PH_NR_mmap, 0, sizeof(ph_region), PH_PROT_READ | PH_PROT_WRITE, PH_MAP_SHARED | PH_MAP_NORESERVE,
				memory, (int64_t)(slot * sizeof(ph_region)));
	struct ph_region *region = (struct ph_region *)at;

	if (at < 0)
		return;
	copy_region(region);
	region->head.layers = layer_bits();
	/* With threads, every trial is begun by a locked step. */
	region->head.fenced = ph_hold_threaded() ||
			      ph_syscall(PH_NR_membarrier, PH_MEMBARRIER_REGISTER_GLOBAL_EXPEDITED, 0, 0, 0, 0, 0) == 0;
	region->head.pid = pid;
	if (ph_syscall(PH_NR_mremap, at, sizeof(ph_region), sizeof(ph_region), PH_MREMAP_MAYMOVE | PH_MREMAP_FIXED,
		       (int64_t)&ph_region, 0) >= 0)
		return;
	region->head.pid = 0;
	ph_syscall(PH_NR_munmap, at, sizeof(ph_region), 0, 0, 0, 0);
}

/* Whether what is pending lies with a keeper, or will. */
static bool keeping(void)
{
	return ph_kept() || (!tried && ph_control->keeper_pid);
}

static void join(void)
{
	uint32_t pid;
	int64_t memory;
	int slot;

	if (tried || !keeping())
		return;
	tried = true;
	memory = ph_keeper_memory();
	if (memory < 0)
		return;
	pid = (uint32_t)ph_syscall(PH_NR_getpid, 0, 0, 0, 0, 0, 0);
	slot = take_slot(memory, pid);
	if (slot >= 0) {
		uint64_t mask = ph_hold_signals();

		map_slot(memory, (unsigned)slot, pid);
		ph_hold_open_signals(mask);
	}
	ph_syscall(PH_NR_close, memory, 0, 0, 0, 0, 0);
}

bool ph_keeper_leave(void)
{
	static uint64_t words[PH_DESCRIPTIONS];

	tried = false;
	if (!ph_kept()) {
		ph_descriptions_forget();
		return true;
	}
	/* They go on counting: a trial of the parent's, copied by a fork, must not commit here. */
	for (unsigned i = 0; i < ph_descriptions_used; i++)
		words[i] = atomic_load(&ph_description_at(i)->word);
	if (ph_syscall(PH_NR_mmap, (int64_t)&ph_region, sizeof(ph_region), PH_PROT_READ | PH_PROT_WRITE,
		       PH_MAP_PRIVATE | PH_MAP_ANONYMOUS | PH_MAP_FIXED | PH_MAP_NORESERVE, -1, 0) < 0)
		return false;
	for (unsigned i = 0; i < ph_descriptions_used; i++) {
		ph_description_at(i)->index = (uint16_t)i;
		atomic_store(&ph_description_at(i)->word, words[i]);
	}
	ph_descriptions_forget();
	return true;
}

bool ph_keeper_ends(int64_t nr)
{
	switch (nr) {
	case PH_NR_setuid:
	case PH_NR_setgid:
	case PH_NR_setreuid:
	case PH_NR_setregid:
	case PH_NR_setresuid:
	case PH_NR_setresgid:
	case PH_NR_setgroups:
	case PH_NR_capset:
	case PH_NR_chroot:
	case PH_NR_pivot_root:
		return true;
	default:
		return false;
	}
}

bool ph_keeper_gone(void)
{
	char path[PH_FD_PATH_OF];
	struct ph_identity id;

	if (ph_syscall(PH_NR_kill, ph_control->keeper_pid, 0, 0, 0, 0, 0) == -PH_ESRCH)
		return true;
	/* The number may be another's by now. In doubt it lives, since two may not settle the same. */
	ph_fd_path_of(path, ph_control->keeper_pid, ph_control->keeper_fd);
	int64_t r = ph_identify_path((int64_t)path, &id);

	if (r == 0)
		return id.dev != ph_control->keeper_dev || id.ino != ph_control->keeper_ino;
	return r == -PH_ENOENT && ph_identify_path((int64_t)"/proc/self/fd", &id) == 0;
}

/* --- places ------------------------------------------------------------------------------------------------ */

/* Some layer with bytes that are to be written where the file's position is. */
static bool gathers(const struct ph_description *d)
{
	for (uint32_t left = d->handled; left; left &= left - 1) {
		const struct ph_rule *rule = ph_layers[__builtin_ctz(left)].rule;

		if (rule->effects && rule->buffer_bytes)
			return true;
	}
	return false;
}

static bool has_effects(const struct ph_description *d)
{
	for (uint32_t left = d->handled; left; left &= left - 1)
		if (ph_layers[__builtin_ctz(left)].rule->effects)
			return true;
	return false;
}

void ph_keeper_unplace(struct ph_description *d)
{
	d->unplaced = keeping() && gathers(d);
}

static const char *without(const char *text, const char *prefix)
{
	while (*prefix)
		if (*text++ != *prefix++)
			return NULL;
	return text;
}

/* The name that the program opened it by: a tenth of the price of asking the kernel. */
static bool name_as_opened(struct ph_kept *kept, const struct ph_call *call)
{
	const char *user = (const char *)call->a[1];
	int64_t n = 0;
	char first;

	if (ph_copy_in(&first, user, 1) < 0)
		return false;
	if (first != '/') {
		if ((int32_t)call->a[0] != PH_AT_FDCWD)
			return false;
		n = ph_syscall(PH_NR_getcwd, (int64_t)kept->path, PH_KEPT_PATH / 2, 0, 0, 0, 0);
		if (n <= 0)
			return false;
		kept->path[n - 1] = '/';
	}
	return ph_copy_string(kept->path + n, PH_KEPT_PATH - n, user) > 0 && !without(kept->path, "/proc/");
}

void ph_keeper_opened(struct ph_description *d, const struct ph_call *call)
{
	struct ph_kept *kept = &ph_region.kept[ph_description_index(d)];

	if (!keeping() || call->nr != PH_NR_openat || kept->flags >= 0 || !has_effects(d))
		return;
	kept->flags = call->a[2] & INT32_MAX;
	kept->position = 0;
	kept->moved = false;
	if (name_as_opened(kept, call))
		kept->named = 1 + atomic_load_explicit(&ph_region.head.tick, memory_order_relaxed);
}

void ph_keeper_renamed(void)
{
	for (unsigned i = 0; keeping() && i < ph_descriptions_used; i++)
		ph_region.kept[i].named = 0;
}

void ph_keeper_passes(struct ph_description *d, const struct ph_call *call)
{
	struct ph_kept *kept = &ph_region.kept[ph_description_index(d)];

	switch (call->nr) {
	case PH_NR_fcntl:
		if ((int32_t)call->a[1] == PH_F_SETFL)
			kept->flags = -1;
		return;
	case PH_NR_fstat:
	case PH_NR_newfstatat:
	case PH_NR_pread64:
	case PH_NR_pwrite64:
	case PH_NR_fsync:
	case PH_NR_fdatasync:
		return;
	default:
		kept->moved = true;
		ph_keeper_unplace(d);
	}
}

void ph_keeper_advance(struct ph_description *d, int64_t n, bool moved)
{
	struct ph_kept *kept = &ph_region.kept[ph_description_index(d)];

	kept->advanced += n;
	kept->moved = moved;
}

/* A name that another process has changed since is found out when the file is opened by it. */
static void name(struct ph_description *d, struct ph_kept *kept, uint64_t tick)
{
	char link[PH_FD_PATH_OF];
	int64_t n;

	if (kept->flags < 0)
		kept->flags = ph_syscall(PH_NR_fcntl, d->fd, PH_F_GETFL, 0, 0, 0, 0);
	if (kept->named == tick + 1)
		return;
	if (kept->named)	/* others may have cut it meanwhile */
		kept->moved = true;
	kept->named = tick + 1;
	ph_fd_path_of(link, 0, d->fd);
	n = ph_syscall(PH_NR_readlinkat, PH_AT_FDCWD, (int64_t)link, (int64_t)kept->path, PH_KEPT_PATH, 0, 0);
	kept->path[n > 0 && n < PH_KEPT_PATH ? n : 0] = 0;
}

static void place(struct ph_description *d, struct ph_kept *kept)
{
	struct ph_identity id;

	if (kept->moved && d->regular) {
		kept->size = ph_identify(d->fd, &id) == 0 ? (uint64_t)id.size : 0;
		kept->position = ph_syscall(PH_NR_lseek, d->fd, 0, PH_SEEK_CUR, 0, 0, 0);
		kept->moved = false;
	}
	atomic_thread_fence(memory_order_release);
	d->unplaced = false;
}

void ph_keeper_place(struct ph_walk *walk, struct ph_description *d)
{
	struct ph_kept *kept = &ph_region.kept[ph_description_index(d)];
	uint64_t tick;

	if (walk->stand_in || (kept->placed && !d->unplaced) || !has_effects(d))
		return;
	join();
	if (!ph_kept()) {
		d->unplaced = false;
		return;
	}
	tick = atomic_load_explicit(&ph_region.head.tick, memory_order_relaxed);
	kept->placed = true;
	kept->since = tick;
	if (d->regular)
		name(d, kept, tick);
	place(d, kept);
	atomic_thread_fence(memory_order_release);	/* before it is marked as dirty */
}

/* --- settling ---------------------------------------------------------------------------------------------- */

bool ph_keeper_begin(struct ph_walk *walk, struct ph_description *d)
{
	struct ph_kept *kept = &ph_region.kept[ph_description_index(d)];

	if (!ph_kept() || atomic_load(&kept->settling) || !has_effects(d))
		return false;
	if (d->unplaced && !walk->stand_in)
		place(d, kept);
	kept->from = kept->position;
	kept->from_size = kept->size;
	kept->advanced = 0;
	for (unsigned i = 0; i < ph_n_layers; i++) {
		const uint64_t *state = (const uint64_t *)ph_state_of(walk, d, i);

		for (unsigned w = 0; w < ph_layers[i].state_words; w++)
			kept->before[ph_layers[i].offset / 8 + w] = state[w];
	}
	ph_dirty_set(d);
	atomic_store(&kept->settling, 1);
	ph_keeper_unplace(d);
	return true;
}

void ph_keeper_end(struct ph_description *d)
{
	struct ph_kept *kept = &ph_region.kept[ph_description_index(d)];

	kept->position = kept->from + kept->advanced;
	if (kept->flags & PH_O_APPEND)
		kept->size = kept->from_size + (uint64_t)kept->advanced;
	else if (kept->size < (uint64_t)kept->position)
		kept->size = (uint64_t)kept->position;
	atomic_store(&kept->settling, 0);
}

int64_t ph_keeper_again(struct ph_walk *walk, struct ph_description *d, int64_t fd)
{
	struct ph_kept *kept = &ph_region.kept[ph_description_index(d)];
	int64_t r = 0;

	for (unsigned i = 0; i < ph_n_layers; i++) {
		uint64_t *state = (uint64_t *)ph_state_of(walk, d, i);

		for (unsigned w = 0; w < ph_layers[i].state_words; w++)
			state[w] = kept->before[ph_layers[i].offset / 8 + w];
	}
	if (!(kept->flags & PH_O_APPEND) && gathers(d))
		r = ph_syscall(PH_NR_lseek, fd, kept->from, PH_SEEK_SET, 0, 0, 0);
	kept->advanced = 0;
	walk->again = true;
	if (r >= 0)
		r = ph_description_settle(walk, d, PH_WHY_COUNT);
	walk->again = false;
	ph_keeper_end(d);
	return r < 0 ? r : 0;
}

void ph_keeper_clear(struct ph_walk *walk)
{
	for (unsigned i = 0; i < ph_descriptions_used; i++) {
		struct ph_description *d = ph_description_at(i);
		int64_t r;

		if (!d->fds || !atomic_load(&ph_region.kept[i].settling))
			continue;
		r = ph_keeper_again(walk, d, d->fd);
		if (r < 0 && !d->error)
			d->error = r;
	}
}

int64_t ph_keeper_appended(const struct ph_description *d, int64_t fd, const uint8_t *bytes, int64_t n)
{
	const struct ph_kept *kept = &ph_region.kept[ph_description_index(d)];
	char link[PH_FD_PATH_OF];
	uint64_t there[32];
	int64_t same = 0, readable;

	if (!(kept->flags & PH_O_APPEND))
		return 0;
	ph_fd_path_of(link, 0, fd);
	readable = ph_syscall(PH_NR_openat, PH_AT_FDCWD, (int64_t)link, PH_O_RDONLY | PH_O_CLOEXEC | PH_O_NONBLOCK, 0, 0, 0);
	while (readable >= 0 && same < n) {
		int64_t want = n - same < (int64_t)sizeof(there) ? n - same : (int64_t)sizeof(there), i = 0;
		int64_t got = ph_syscall(PH_NR_pread64, readable, (int64_t)there, want, (int64_t)kept->from_size + same, 0, 0);

		while (i < got && ((const uint8_t *)there)[i] == bytes[same + i])
			i++;
		same += i;
		if (got <= 0 || i < got) {
			/* What others have appended is not ours. */
			same = got > 0 ? 0 : same;
			break;
		}
	}
	if (readable >= 0)
		ph_syscall(PH_NR_close, readable, 0, 0, 0, 0, 0);
	return same;
}

#include "descriptions.h"

#include "classes.h"
#include "dispatch.h"
#include "engine.h"
#include "interest.h"
#include "keeper.h"
#include "numbers.h"
#include "scans.h"
#include "statx.h"

_Alignas(4096) struct ph_region ph_region;
static uint16_t description_of[PH_FDS];	/* index + 1, or 0 */
unsigned ph_descriptions_used;

static uint8_t free_buffers[PH_BUFFERS];	/* as ph_buffer_take gives them */
static unsigned n_free_buffers;

/* --- descriptors ---------------------------------------------------------------------------------------- */

uint8_t ph_fd_kind[PH_FDS];
static struct { uint64_t dev, ino; } fd_file[PH_FDS];
static int64_t fd_highest = -1;
static bool fds_incomplete;		/* some descriptor is beyond PH_FDS, or they can't be listed */
static bool fds_stale;			/* some may have come unseen */

#define MAPPED_MAX 512
static struct { uint64_t dev, ino; } mapped[MAPPED_MAX];
static unsigned n_mapped;

static int64_t identify(int64_t dir, int64_t path, int64_t flags, struct ph_identity *out)
{
	struct ph_statx st;
	int64_t r = ph_syscall(PH_NR_statx, dir, path, flags, PH_STATX_BASIC_AND_BTIME, (int64_t)&st, 0);

	if (r < 0)
		return r;
	*out = (struct ph_identity){
		.dev = ph_statx_dev(&st), .ino = st.ino, .mode = st.mode, .size = (int64_t)st.size,
		.rdev = ph_device(st.rdev_major, st.rdev_minor),
		.links = st.nlink,
		.born_ns = st.mask & PH_STATX_BTIME ? (uint64_t)st.btime.s * 1000000000 + st.btime.ns : 0,
	};
	return 0;
}

int64_t ph_identify(int64_t fd, struct ph_identity *out)
{
	return identify(fd, (int64_t)"", PH_AT_EMPTY_PATH, out);
}

int64_t ph_identify_path(int64_t path, struct ph_identity *out)
{
	return identify(PH_AT_FDCWD, path, 0, out);
}

int64_t ph_identify_at(int64_t dir, int64_t path, struct ph_identity *out)
{
	return identify(dir, path, 0, out);
}

int64_t ph_identify_name(int64_t dir, int64_t path, struct ph_identity *out)
{
	return identify(dir, path, PH_AT_SYMLINK_NOFOLLOW, out);
}

void ph_fd_opened(int64_t fd)
{
	if (fd < 0)
		return;
	if (fd >= PH_FDS) {
		fds_incomplete = true;
		return;
	}
	ph_fd_kind[fd] = PH_FD_UNKNOWN;
	if (fd > fd_highest)
		fd_highest = fd;
}

int64_t ph_fd_highest(void)
{
	return fd_highest;
}

void ph_fd_closed(int64_t fd)
{
	if (fd >= 0 && fd < PH_FDS)
		ph_fd_kind[fd] = PH_FD_NONE;
}

void ph_fd_closed_range(uint64_t first, uint64_t last)
{
	for (uint64_t fd = first; fd <= last && fd < PH_FDS; fd++)
		ph_fd_kind[fd] = PH_FD_NONE;
}

struct dirent64 {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

/* Every descriptor that is open now. false when /proc can't tell. */
static bool list_fds(void)
{
	uint64_t space[128];
	uint8_t *entries = (uint8_t *)space;
	int64_t dir, n;

	dir = ph_syscall(PH_NR_openat, PH_AT_FDCWD, (int64_t)"/proc/self/fd", PH_O_RDONLY | PH_O_DIRECTORY | PH_O_CLOEXEC,
			 0, 0, 0);
	if (dir < 0)
		return false;
	while ((n = ph_syscall(PH_NR_getdents64, dir, (int64_t)entries, sizeof(space), 0, 0, 0)) > 0) {
		for (int64_t at = 0; at < n;) {
			struct dirent64 *e = (struct dirent64 *)(entries + at);
			int64_t fd = 0;
			const char *p = e->name;

			for (; *p >= '0' && *p <= '9'; p++)
				fd = fd * 10 + (*p - '0');
			if (*p == '\0' && p != e->name && fd != dir)
				ph_fd_opened(fd);
			at += e->reclen;
		}
	}
	ph_syscall(PH_NR_close, dir, 0, 0, 0, 0, 0);
	return n == 0;
}

void ph_fds_unknown(void)
{
	fds_stale = true;
}

void ph_inode_mapped(uint64_t dev, uint64_t ino)
{
	for (unsigned i = 0; i < n_mapped; i++)
		if (mapped[i].dev == dev && mapped[i].ino == ino)
			return;
	if (n_mapped == MAPPED_MAX) {
		fds_incomplete = true;
		return;
	}
	mapped[n_mapped].dev = dev;
	mapped[n_mapped].ino = ino;
	n_mapped++;
}

/* /dev/null, zero, full and urandom (devices.txt) never block, and tell nobody anything. */
static bool is_quiet(const struct ph_identity *id)
{
	uint64_t minor = id->rdev & 0xff;

	return (id->mode & PH_S_IFMT) == PH_S_IFCHR && id->rdev >> 8 == 1 && (minor == 3 || minor == 5 || minor == 7 || minor == 9);
}

/* Looks up what fd names, unless known. */
static bool fd_known(int64_t fd)
{
	const struct ph_description *d = description_of[fd] ? ph_description_at(description_of[fd] - 1u) : NULL;
	struct ph_identity id;

	if (ph_fd_kind[fd] >= PH_FD_REGULAR)
		return true;
	if (d && d->identified && d->regular) {
		fd_file[fd].dev = d->dev;
		fd_file[fd].ino = d->ino;
		ph_fd_kind[fd] = PH_FD_REGULAR;
		return true;
	}
	if (ph_identify(fd, &id) < 0) {		/* closed behind our back */
		ph_fd_kind[fd] = PH_FD_NONE;
		return false;
	}
	fd_file[fd].dev = id.dev;
	fd_file[fd].ino = id.ino;
	ph_fd_kind[fd] = (id.mode & PH_S_IFMT) == PH_S_IFREG || is_quiet(&id) ? PH_FD_REGULAR : PH_FD_OTHER;
	return true;
}

bool ph_fd_regular(int64_t fd)
{
	return fd >= 0 && fd < PH_FDS && ph_fd_kind[fd] != PH_FD_NONE && fd_known(fd) && ph_fd_kind[fd] == PH_FD_REGULAR;
}

#define CLOSES_IN_A_ROW 32	/* of what may be closed: to list what is open costs as much as a hundred such calls */
static bool listed;			/* since the last call that is no close */

void ph_fds_may_change(void)
{
	listed = false;
	ph_notable.closes = 0;
}

bool ph_fd_unopened(int64_t fd)
{
	if (fd < 0 || fds_incomplete || (fd < PH_FDS && ph_fd_kind[fd] != PH_FD_NONE))
		return false;
	if (listed)
		return true;
	if (++ph_notable.closes < CLOSES_IN_A_ROW)
		return false;
	ph_notable.closes = 1;
	listed = list_fds();
	return listed && !fds_incomplete && (fd >= PH_FDS || ph_fd_kind[fd] == PH_FD_NONE);
}

void ph_fd_path(char to[PH_FD_PATH], int64_t fd)
{
	static const char folder[] = "/proc/self/fd/";
	char digits[20];
	unsigned n = 0;

	for (const char *from = folder; *from;)
		*to++ = *from++;
	do
		digits[n++] = (char)('0' + fd % 10);
	while (fd /= 10);
	while (n)
		*to++ = digits[--n];
	*to = 0;
}

enum ph_fd_epoll ph_fd_epoll(int64_t fd)
{
	if (fd < 0 || fd >= PH_FDS || ph_fd_kind[fd] == PH_FD_REGULAR || ph_fd_kind[fd] == PH_FD_NO_EPOLL)
		return PH_FD_IS_NONE;
	return ph_fd_kind[fd] == PH_FD_EPOLL ? PH_FD_IS_EPOLL : PH_FD_NOT_ASKED;
}

void ph_fd_ask_epoll(int64_t fd)
{
	static const char wanted[] = "anon_inode:[eventpoll]";
	char path[PH_FD_PATH], name[sizeof(wanted)] = "";
	bool same;

	if (fd < 0 || fd >= PH_FDS || !fd_known(fd))
		return;
	ph_fd_path(path, fd);
	same = ph_syscall(PH_NR_readlink, (int64_t)path, (int64_t)name, sizeof(name), 0, 0, 0) == sizeof(wanted) - 1;
	for (unsigned i = 0; same && i < sizeof(wanted) - 1; i++)
		same = name[i] == wanted[i];
	ph_fd_kind[fd] = same ? PH_FD_EPOLL : ph_fd_kind[fd] == PH_FD_OTHER ? PH_FD_NO_EPOLL : ph_fd_kind[fd];
}

bool ph_fd_alone(const struct ph_description *d)
{
	unsigned me = ph_description_index(d) + 1;

	if (fds_stale) {
		fds_stale = false;
		if (!list_fds())
			fds_incomplete = true;
	}
	if (fds_incomplete)
		return false;
	for (unsigned i = 0; i < n_mapped; i++)
		if (mapped[i].dev == d->dev && mapped[i].ino == d->ino)
			return false;
	for (int64_t fd = 0; fd <= fd_highest; fd++) {
		if (ph_fd_kind[fd] == PH_FD_NONE || description_of[fd] == me || !fd_known(fd))
			continue;
		if (fd_file[fd].ino == d->ino && fd_file[fd].dev == d->dev)
			return false;
	}
	return true;
}

/* --- descriptions ---------------------------------------------------------------------------------------- */

uint8_t ph_buffer_take(void)
{
	return n_free_buffers ? free_buffers[--n_free_buffers] : 0;
}

struct ph_description *ph_description_of(int64_t fd)
{
	unsigned i;

	if (fd < 0 || fd >= PH_FDS)
		return NULL;
	i = description_of[fd];
	return i ? &ph_region.descriptions[i - 1] : NULL;
}

struct ph_description *ph_description_at(unsigned index)
{
	return &ph_region.descriptions[index];
}

static bool is_free(const struct ph_description *d)
{
	return d->fds == 0 && !(atomic_load_explicit(&d->word, memory_order_relaxed) & PH_WORD_DEAD);
}

struct ph_description *ph_description_new(int64_t fd)
{
	if (fd < 0 || fd >= PH_FDS)
		return NULL;
	for (unsigned i = 0; i < PH_DESCRIPTIONS; i++) {
		struct ph_description *d = &ph_region.descriptions[i];

		if (!is_free(d))
			continue;
		if (i >= ph_descriptions_used)
			ph_descriptions_used = i + 1;
		d->index = (uint16_t)i;
		ph_fd_opened(fd);
		d->fds = 1;
		d->fd = (uint16_t)fd;
		d->handled = 0;
		d->identified = d->plain_connection = false;
		d->unplaced = false;
		d->error = 0;
		ph_region.kept[i].named = 0;
		ph_region.kept[i].flags = -1;
		ph_region.kept[i].moved = true;
		ph_region.kept[i].placed = false;
		description_of[fd] = (uint16_t)(i + 1);
		return d;
	}
	return NULL;
}

void ph_description_free(struct ph_description *d)
{
	uint64_t word = atomic_load(&d->word);

	ph_dirty_clear(d);
	ph_scan_end(ph_description_index(d));
	for (unsigned i = 0; i < PH_RULES_MAX; i++) {
		if (d->buffer[i])
			free_buffers[n_free_buffers++] = d->buffer[i];
		d->buffer[i] = 0;
	}
	d->fds = 0;
	d->handled = 0;
	atomic_store(&d->word, (word & ~PH_WORD_DEAD) + PH_WORD_STEP);
}

void ph_description_name(struct ph_description *d, int64_t fd)
{
	if (fd < 0 || fd >= PH_FDS)
		return;
	description_of[fd] = (uint16_t)(ph_description_index(d) + 1);
	d->fds++;
}

void ph_stand_in(int64_t fd, const struct ph_description *d)
{
	description_of[fd] = d ? (uint16_t)(ph_description_index(d) + 1) : 0;
}

void ph_description_unname(struct ph_description *d, int64_t fd)
{
	unsigned me = ph_description_index(d) + 1;

	description_of[fd] = 0;
	if (--d->fds == 0) {
		ph_description_free(d);
		return;
	}
	for (int64_t other = 0; d->fd == fd && other <= fd_highest; other++)
		if (description_of[other] == me)
			d->fd = (uint16_t)other;
}

void ph_description_drop(struct ph_description *d, bool dead)
{
	unsigned me = ph_description_index(d) + 1;

	for (int64_t fd = 0; fd <= fd_highest; fd++)
		if (description_of[fd] == me)
			description_of[fd] = 0;
	d->fds = 0;
	d->handled = 0;
	ph_dirty_clear(d);
	if (!dead)
		ph_description_free(d);
}

static void free_all_buffers(void)
{
	for (unsigned i = 0; i < PH_BUFFERS; i++)
		free_buffers[i] = (uint8_t)(PH_BUFFERS - i);
	n_free_buffers = PH_BUFFERS;
}

void ph_descriptions_forget(void)
{
	/* Another thread may have been in the middle of anything when the fork copied this memory: trust nothing. */
	for (unsigned i = 0; i < ph_descriptions_used; i++) {
		struct ph_description *d = &ph_region.descriptions[i];

		for (unsigned b = 0; b < PH_RULES_MAX; b++)
			d->buffer[b] = 0;
		d->fds = 0;
		d->handled = 0;
		/* A trial that a handler interrupted, which then forked, must not commit in the child. */
		atomic_store(&d->word, (atomic_load(&d->word) & ~(PH_WORD_DEAD | PH_WORD_CURRENT)) + PH_WORD_STEP);
	}
	for (int64_t fd = 0; fd <= fd_highest; fd++)
		description_of[fd] = 0;
	ph_scans_end();
	for (unsigned i = 0; i < PH_DESCRIPTIONS / 64; i++)
		atomic_store(&ph_region.head.dirty[i], 0);
	free_all_buffers();
}

int ph_descriptions_init(void)
{
	for (int64_t fd = 0; fd <= fd_highest; fd++)
		ph_fd_kind[fd] = PH_FD_NONE;
	fds_incomplete = false;
	n_mapped = 0;
	if (!ph_keeper_leave())
		return -PH_ENOMEM;
	if (!list_fds())
		fds_incomplete = true;
	return 0;
}

/* --- what is pending --------------------------------------------------------------------------------------- */

void ph_dirty_set(const struct ph_description *d)
{
	unsigned i = ph_description_index(d);

	atomic_fetch_or(&ph_region.head.dirty[i / 64], 1ull << (i % 64));
}

void ph_dirty_clear(const struct ph_description *d)
{
	unsigned i = ph_description_index(d);

	if (ph_dirty_test(d))
		atomic_fetch_and(&ph_region.head.dirty[i / 64], ~(1ull << (i % 64)));
}

bool ph_dirty_test(const struct ph_description *d)
{
	unsigned i = ph_description_index(d);

	return atomic_load_explicit(&ph_region.head.dirty[i / 64], memory_order_relaxed) & (1ull << (i % 64));
}

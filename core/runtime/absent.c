/* Names that folders do not have: a folder in which files were looked for several times is listed once. Only in programs
 * of one thread: a signal handler that changes names in the middle of a listing is noticed, another thread would not be. */
#include "absent.h"

#include "classes.h"
#include "spelling.h"

#define FOLDERS 256
#define PREFIX 240
#define NAME_MOST 255
#define ASKED 4			/* times, before a folder is listed */
#define ENTRIES 1000		/* of a folder that is worth listing */
#define SLOTS 16384		/* of names, of which at most half are used */
#define NEAR 64
#define TRIED 64		/* listings, after which they must have paid: */
#define ANSWERS 8		/* answers for each */

enum {
	EXT_MAGIC = 0xef53, TMPFS_MAGIC = 0x01021994, XFS_MAGIC = 0x58465342, BTRFS_MAGIC = 0x9123683e,
	GETFLAGS = 0x80086601, CASEFOLD = 0x40000000, NOATIME = 01000000, TMPFILE = 020000000
};

#define HASH_SEED 0xcbf29ce484222325ull

enum folder_state { COUNTED, LISTED, LEFT_ALONE };

static struct folder {
	uint64_t hash, generation;
	uint16_t bytes;
	uint8_t state, asked;
	char prefix[PREFIX];
} folders[FOLDERS];

/* A name is here as its hash with its folder's; two of one hash count as there, which is safe. The upper 16 bits say in which
 * generation it was put here: what is older is free. */
static uint64_t names[SLOTS];
static unsigned n_names;
static uint64_t generation = 1;
static uint32_t listings, answers;
static bool busy;		/* a handler that comes in the middle finds it so; one that never comes back leaves it so */
bool ph_absent_used;

void ph_absent_forget(void)
{
	if (!(++generation & 0xffff))	/* of a slot that was never used */
		generation++;
	ph_notable.folders = 0;
	n_names = 0;
}

static uint64_t hash_of(uint64_t seed, const char *s, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		seed = (seed ^ (uint8_t)s[i]) * 0x100000001b3ull;
	return seed;
}

static uint64_t tagged(const struct folder *f, const char *name, int64_t n)
{
	uint64_t hash = hash_of(f->hash ^ 0x9e3779b97f4a7c15ull, name, n);

	return (generation & 0xffff) << 48 | (hash ^ hash >> 48) << 16 >> 16;
}

static bool is_current(uint64_t slot)
{
	return slot >> 48 == (generation & 0xffff);
}

/* The slot of this name, or the free one where it would be; NULL where there is none near by. */
static uint64_t *slot_of(uint64_t name)
{
	for (unsigned i = 0; i < NEAR; i++) {
		uint64_t *slot = &names[(name + i) % SLOTS];

		if (!is_current(*slot) || *slot == name)
			return slot;
	}
	return NULL;
}

static struct folder *known_folder(uint64_t hash, const char *prefix, int64_t bytes)
{
	for (unsigned i = 0; i < ph_notable.folders; i++) {
		struct folder *f = &folders[i];
		int64_t same = 0;

		if (f->hash != hash || f->bytes != bytes || f->generation != generation)
			continue;
		while (same < bytes && f->prefix[same] == prefix[same])
			same++;
		if (same == bytes)
			return f;
	}
	return NULL;
}

static struct folder *new_folder(uint64_t hash, const char *prefix, int64_t bytes)
{
	struct folder *f = &folders[ph_notable.folders];

	if (ph_notable.folders == FOLDERS || bytes >= PREFIX)
		return NULL;
	ph_notable.folders++;
	*f = (struct folder){ .hash = hash, .generation = generation, .bytes = (uint16_t)bytes };
	for (int64_t i = 0; i < bytes; i++)
		f->prefix[i] = prefix[i];
	return f;
}

/* Names there mean what they say, and all of them are listed. */
static bool is_plain(struct ph_k *k, int64_t fd)
{
	int64_t fs[15];		/* struct statfs: 120 bytes, f_type first */
	struct ph_identity id;
	uint32_t flags = 0;
	bool covered = false;

	if (ph_identify(fd, &id) < 0 || ph_syscall(PH_NR_fstatfs, fd, (int64_t)fs, 0, 0, 0, 0) < 0)
		return false;
	for (uint32_t i = 0; i < ph_control->n_mounts && i < PH_MOUNTS_MAX; i++)
		covered |= ph_control->mounts[i].dev == id.dev &&
			   (ph_control->mounts[i].rules & (1u << ph_layers[k->layer].index));
	if (ph_syscall(PH_NR_ioctl, fd, GETFLAGS, (int64_t)&flags, 0, 0, 0) < 0)
		flags = fs[0] == TMPFS_MAGIC ? 0 : CASEFOLD;
	return covered && !(flags & CASEFOLD) &&
	       (fs[0] == EXT_MAGIC || fs[0] == TMPFS_MAGIC || fs[0] == XFS_MAGIC || fs[0] == BTRFS_MAGIC);
}

struct entry {
	uint64_t ino;
	int64_t off;
	uint16_t bytes;
	uint8_t type;
	char name[];
};

static bool read_names(const struct folder *f, int64_t fd, uint64_t began)
{
	uint64_t space[120];
	unsigned count = 0;
	int64_t n;

	while ((n = ph_syscall(PH_NR_getdents64, fd, (int64_t)space, sizeof(space), 0, 0, 0)) > 0) {
		for (int64_t at = 0; at < n;) {
			const struct entry *e = (const struct entry *)((const char *)space + at);
			int64_t bytes = 0;
			uint64_t name, *slot;

			while (e->name[bytes])
				bytes++;
			if (generation != began || ++count > ENTRIES || n_names >= SLOTS / 2)
				return false;
			name = tagged(f, e->name, bytes);
			slot = slot_of(name);
			if (!slot)
				return false;
			*slot = name;
			n_names++;
			at += e->bytes;
		}
	}
	return n == 0 && generation == began;
}

static enum folder_state list(struct ph_k *k, const struct folder *f)
{
	enum folder_state state = LEFT_ALONE;
	uint64_t began = generation;
	char path[PREFIX + 1];
	int64_t fd;

	for (int64_t i = 0; i < f->bytes; i++)
		path[i] = f->prefix[i];
	path[f->bytes] = 0;
	fd = ph_syscall(PH_NR_openat, PH_AT_FDCWD, (int64_t)(f->bytes ? path : "."),
			PH_O_RDONLY | PH_O_DIRECTORY | PH_O_CLOEXEC | NOATIME, 0, 0, 0);
	if (fd == -PH_ENOENT)	/* nothing is in what is not there */
		return generation == began ? LISTED : LEFT_ALONE;
	if (fd < 0)
		return LEFT_ALONE;
	listings++;
	if (is_plain(k, fd) && read_names(f, fd, began))
		state = LISTED;
	ph_syscall(PH_NR_close, fd, 0, 0, 0, 0, 0);
	return state;
}

/* Whether a folder that was listed lacks the path's next part; "." and ".." are in every folder. */
static bool lacks(const struct folder *f, const char *part)
{
	const uint64_t *slot;
	int64_t n = 0;

	while (part[n] && part[n] != '/')
		n++;
	if (f->state != LISTED || n < 1 || n > NAME_MOST)
		return false;
	slot = slot_of(tagged(f, part, n));
	return slot && !is_current(*slot);
}

/* Whether a folder on the way to the path's last part lacks what comes next; that part's own is listed if it is time. */
static bool looked_up(struct ph_k *k, const char *path, int64_t bytes)
{
	uint64_t hash = HASH_SEED, began = generation;
	int64_t last = 0, at = 0;
	struct folder *f = NULL;
	enum folder_state state;

	do {
		f = known_folder(hash, path, at);
		if (f && lacks(f, path + at))
			return true;
		last = at;
		while (at < bytes && path[at] != '/')
			at++;
		at += at < bytes;
		hash = hash_of(hash, path + last, at - last);
	} while (at < bytes);
	hash = hash_of(HASH_SEED, path, last);
	f = f ? f : new_folder(hash, path, last);
	if (!f || f->state != COUNTED || ++f->asked < ASKED)
		return false;
	state = list(k, f);
	if (generation != began)	/* a handler has changed something; f may be another's now */
		return false;
	f->state = (uint8_t)state;
	return lacks(f, path + last);
}

int64_t ph_absent(struct ph_k *k, int64_t dir, int64_t user)
{
	char path[PREFIX + NAME_MOST + 2];
	uint64_t began;
	int64_t bytes;
	bool absent;

	if (k->walk->trial) {
		k->walk->aborted = true;
		return 0;
	}
	if (busy || ph_hold_threaded() || (listings >= TRIED && answers < listings * ANSWERS))
		return 0;
	bytes = ph_copy_string(path, sizeof(path), (const char *)user);
	if (bytes <= 0 || (path[0] != '/' && (int32_t)dir != PH_AT_FDCWD))
		return 0;
	busy = true;
	atomic_signal_fence(memory_order_seq_cst);
	began = generation;
	absent = looked_up(k, path, bytes) && generation == began;
	atomic_signal_fence(memory_order_seq_cst);
	busy = false;
	answers += absent;
	return absent;
}

/* --- what makes it unknown --------------------------------------------------------------------------------------- */

static bool only_looks(int64_t nr)
{
	return nr == PH_NR_stat || nr == PH_NR_lstat || nr == PH_NR_access || nr == PH_NR_newfstatat || nr == PH_NR_readlink ||
	       nr == PH_NR_statx || nr == PH_NR_faccessat2;
}

static bool keeps(const struct ph_call *c)
{
	const struct call_row *row;

	if (c->nr < 0 || c->nr >= PH_NR_MAX)
		return false;
	row = &ph_calls[c->nr];
	switch ((enum call_class)row->class) {
	case INERT:
	case MAPS:
	case DUP:
	case CLOSE:
		return true;
	case FD:
		return ph_fd_regular((int32_t)c->a[row->fd_arg]) &&
		       (row->fd_arg2 < 0 || ph_fd_regular((int32_t)c->a[row->fd_arg2]));
	case OPEN:
		return (c->nr == PH_NR_open && !(c->a[1] & (PH_O_CREAT | TMPFILE))) ||
		       (c->nr == PH_NR_openat && !(c->a[2] & (PH_O_CREAT | TMPFILE)));
	case ANY:
		return only_looks(c->nr);
	case CLOSES:
	case FORK:
	case EXEC:
	case EXIT:
	case WAIT:
		return false;
	}
	return false;
}

void ph_absent_before(const struct ph_call *c)
{
	if (ph_notable.folders && !keeps(c))
		ph_absent_forget();
}

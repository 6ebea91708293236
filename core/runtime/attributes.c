/* Attributes that files were found to lack. What was found of a file holds for as long as its change time stays: a file whose
 * change time is before the kernel's clock, as far as the file system tells times, gets another by every change from then on.
 *
 * The table is the tree's, behind the slots in the keeper's memory: a set of numbers, each made of a file, its change
 * time, the path that it was asked by, and the attribute. A number is one word, so that nobody waits for anybody. That the
 * path belongs to it makes an answer one that this same question has had before, whatever others did meanwhile. */
#include "attributes.h"

#include "classes.h"
#include "keeper.h"
#include "numbers.h"
#include "spelling.h"
#include "statx.h"

#define PATH_MOST 512
#define NAME_ROOM 32		/* more than the longest attribute that is known takes */
#define DEVICES 8
#define WANTED 16		/* files looked at without a question, after which that is followed no more */

enum {
	EXT_MAGIC = 0xef53, TMPFS_MAGIC = 0x01021994, XFS_MAGIC = 0x58465342, BTRFS_MAGIC = 0x9123683e,
	NR_lsm_list_modules = 461, LSM_SELINUX = 101, LSM_SMACK = 102, LSM_LAST = 113, LSMS = 32,
	CLOCK_REALTIME_COARSE = 5, STATX_CTIME = 0x80, STATX_INO = 0x100, STATX_MNT_ID = 0x1000, STATX_MNT_ID_UNIQUE = 0x4000
};

#define FILES_A_SET 2		/* of up to three attributes each */
#define SECOND 1000000000ll
#define MILLISECOND 1000000

/* The file that the program has looked at last. Good as long as `since` is the generation: every call that may change a file,
 * or what a path means, begins another, also one that a signal handler makes in the middle of this. */
static struct seen {
	uint64_t since;		/* 0: nothing */
	uint64_t path;		/* its hash */
	uint64_t file;
	int64_t changed;	/* nanoseconds; -1: not told */
	bool link;
} seen;
static uint64_t generation = 1;

/* Mounts on which rules may act, by what statx says of them: a number that no other has had since the machine began. */
static struct device {
	uint64_t dev, mount, unique;
} devices[DEVICES];
static unsigned n_devices;

static struct ph_table *table;
static bool tried;		/* to map it */
static unsigned wanted;
bool ph_attributes_used;

static uint64_t fold(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)(a ^ 0x9e3779b97f4a7c15ull) * (b ^ 0xd6e8feb86659fd93ull);

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* A string of the program's, its last word filled up with zeros: its length, or -1 where it is too long or can't be read. */
static int64_t copy_words(uint64_t *words, int64_t room, int64_t user)
{
	int64_t bytes = ph_copy_string((char *)words, room, (const char *)user);

	for (int64_t i = bytes; i > 0 && i & 7; i++)
		((char *)words)[i] = 0;
	return bytes;
}

/* 0: no path that is followed. */
static uint64_t hash_path(int64_t user)
{
	uint64_t words[PATH_MOST / 8], hash = table->seed;
	int64_t bytes = copy_words(words, PATH_MOST, user);

	if (bytes <= 0)
		return 0;
	for (int64_t i = 0; i * 8 < bytes; i++)
		hash = fold(hash ^ words[i], table->seed);
	return hash | 1;
}

/* --- the table --------------------------------------------------------------------------------------------- */

/* Labels change without their files. */
static bool is_labelled(void)
{
	uint64_t ids[LSMS];
	uint32_t bytes = sizeof(ids);
	int64_t n = ph_syscall(NR_lsm_list_modules, (int64_t)ids, (int64_t)&bytes, 0, 0, 0, 0);

	for (int64_t i = 0; i < n; i++)
		if (ids[i] == LSM_SELINUX || ids[i] == LSM_SMACK || ids[i] > LSM_LAST)
			return true;
	return n < 0;
}

static void map_table(void)
{
	int64_t memory, at;
	uint64_t seed = 0, none = 0;

	tried = true;
	if (!ph_control->keeper_pid || is_labelled())
		return;
	memory = ph_keeper_memory();
	if (memory < 0)
		return;
	at = ph_syscall(PH_NR_mmap, 0, sizeof(struct ph_table), PH_PROT_READ | PH_PROT_WRITE, PH_MAP_SHARED, memory,
			(int64_t)(PH_SLOTS * sizeof(struct ph_region)));
	ph_syscall(PH_NR_close, memory, 0, 0, 0, 0, 0);
	if (at < 0)
		return;
	table = (struct ph_table *)at;
	if (!__atomic_load_n(&table->seed, __ATOMIC_RELAXED) &&
	    ph_syscall(PH_NR_getrandom, (int64_t)&seed, sizeof(seed), 0, 0, 0, 0) == sizeof(seed))
		__atomic_compare_exchange_n(&table->seed, &none, seed, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static void leave(void)
{
	if (table)
		ph_syscall(PH_NR_munmap, (int64_t)table, sizeof(struct ph_table), 0, 0, 0, 0);
	table = NULL;
	tried = true;
}

/* Inodes that were made one after another lie side by side, so that a listing touches few lines of memory. */
static uint64_t file_number(const struct ph_statx *st, uint64_t mount, uint64_t path)
{
	uint64_t whole = fold(fold(fold(st->ino, ph_statx_dev(st)), mount), path);

	return whole / PH_TABLE_SETS * PH_TABLE_SETS + (st->ino / FILES_A_SET + mount) % PH_TABLE_SETS;
}

static uint64_t *set_of(int64_t file)
{
	return table->sets[(uint64_t)file % PH_TABLE_SETS];
}

static uint64_t number_of(int64_t file, int64_t changed, int64_t attribute)
{
	return fold(fold((uint64_t)file, (uint64_t)changed), table->seed + (uint64_t)attribute) | 1;
}

int64_t ph_lacked(struct ph_k *k, int64_t file, int64_t changed, int64_t attribute)
{
	uint64_t *set, number;

	(void)k;
	if (!table)
		return 0;
	set = set_of(file);
	number = number_of(file, changed, attribute);
	for (unsigned i = 0; i < PH_TABLE_WAYS; i++)
		if (__atomic_load_n(&set[i], __ATOMIC_RELAXED) == number)
			return 1;
	return 0;
}

/* Where a set is full, one of its numbers makes room. */
void ph_lacks(struct ph_k *k, int64_t file, int64_t changed, int64_t attribute)
{
	uint64_t *set, number;

	(void)k;
	if (!table)
		return;
	set = set_of(file);
	number = number_of(file, changed, attribute);
	for (unsigned i = 0; i < PH_TABLE_WAYS; i++) {
		uint64_t none = 0;

		if (__atomic_compare_exchange_n(&set[i], &none, number, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED) || none == number)
			return;
	}
	__atomic_store_n(&set[number >> 32 & (PH_TABLE_WAYS - 1)], number, __ATOMIC_RELAXED);
}

/* --- what the program has looked at ------------------------------------------------------------------------ */

static bool is_covered(const struct ph_k *k, uint64_t dev)
{
	for (uint32_t i = 0; i < ph_control->n_mounts && i < PH_MOUNTS_MAX; i++)
		if (ph_control->mounts[i].dev == dev)
			return ph_control->mounts[i].rules & (1u << ph_layers[k->layer].index);
	return false;
}

/* A mount that is met the first time: by a path on it. */
static uint64_t ask_mount(const struct ph_k *k, uint64_t dev, int64_t path)
{
	int64_t fs[15];		/* struct statfs: 120 bytes, f_type first */
	struct ph_statx st;

	if (!is_covered(k, dev) || ph_syscall(PH_NR_statfs, path, (int64_t)fs, 0, 0, 0, 0) < 0 ||
	    (fs[0] != EXT_MAGIC && fs[0] != TMPFS_MAGIC && fs[0] != XFS_MAGIC && fs[0] != BTRFS_MAGIC) ||
	    ph_syscall(PH_NR_statx, PH_AT_FDCWD, path, PH_AT_SYMLINK_NOFOLLOW, STATX_MNT_ID_UNIQUE, (int64_t)&st, 0) < 0 ||
	    ph_statx_dev(&st) != dev || !(st.mask & STATX_MNT_ID_UNIQUE))
		return 0;
	return st.mount;
}

/* 0: rules do not act there. */
static uint64_t mount_of(const struct ph_k *k, const struct ph_statx *st, int64_t path)
{
	uint64_t dev = ph_statx_dev(st), unique;
	struct device *new;

	for (unsigned i = 0; i < n_devices; i++)
		if (devices[i].dev == dev && devices[i].mount == st->mount)
			return devices[i].unique;
	new = &devices[n_devices < DEVICES ? n_devices++ : dev % DEVICES];
	unique = ask_mount(k, dev, path);
	new->dev = 0;
	atomic_signal_fence(memory_order_seq_cst);
	new->mount = st->mount;
	new->unique = unique;
	atomic_signal_fence(memory_order_seq_cst);
	new->dev = dev;
	return unique;
}

int64_t ph_look(struct ph_k *k, int64_t dir, int64_t path)
{
	char first;

	(void)k;
	if (!wanted || ph_hold_threaded())
		return 0;
	wanted--;
	if (!tried)
		map_table();
	if (!table || ((int32_t)dir != PH_AT_FDCWD && (ph_copy_in(&first, (const void *)path, 1) < 0 || first != '/')))
		return 0;
	ph_notable.files = 1;
	return (int64_t)generation;
}

void ph_looked(struct ph_k *k, int64_t look, int64_t path, int64_t statx)
{
	struct ph_statx st;
	struct seen now = { .changed = -1 };
	uint64_t mount;

	if (!look || (uint64_t)look != generation || ph_copy_in(&st, (const void *)statx, offsetof(struct ph_statx, more)) < 0 ||
	    !(st.mask & STATX_INO) || !(st.mask & STATX_MNT_ID))
		return;
	now.path = hash_path(path);
	mount = now.path ? mount_of(k, &st, path) : 0;
	if (!mount)
		return;
	now.file = file_number(&st, mount, now.path);
	if ((st.mask & STATX_CTIME) && st.ctime.s >= 0 && st.ctime.s < INT64_MAX / SECOND - 1)
		now.changed = st.ctime.s * SECOND + st.ctime.ns;
	now.link = (st.mode & PH_S_IFMT) == PH_S_IFLNK;
	seen.since = 0;
	atomic_signal_fence(memory_order_seq_cst);
	seen = now;
	atomic_signal_fence(memory_order_seq_cst);
	seen.since = (uint64_t)look;
	__builtin_prefetch(set_of((int64_t)now.file));
}

int64_t ph_seen(struct ph_k *k, int64_t path)
{
	(void)k;
	wanted = WANTED;
	return seen.since == generation && hash_path(path) == seen.path ? (int64_t)seen.since : 0;
}

int64_t ph_seen_file(struct ph_k *k, int64_t number)
{
	(void)k;
	return (uint64_t)number == generation ? (int64_t)seen.file : 0;
}

bool ph_seen_link(struct ph_k *k, int64_t number)
{
	(void)k;
	return (uint64_t)number != generation || seen.link;
}

/* Asked last: what was read before it belongs together if this is told. */
int64_t ph_seen_time(struct ph_k *k, int64_t number)
{
	int64_t changed = seen.changed;

	(void)k;
	atomic_signal_fence(memory_order_seq_cst);
	return number && (uint64_t)number == seen.since && (uint64_t)number == generation ? changed : -1;
}

/* Of a file system that counts seconds, the second has to be over. The clock is asked only where what it said before does not
 * do: it goes on, so that every file is at least as old as it was then. */
int64_t ph_age(struct ph_k *k, int64_t changed)
{
	static int64_t clock;
	int64_t now[2] = { 0, 0 }, end = changed % SECOND ? changed : changed + SECOND;

	(void)k;
	if (clock - end < MILLISECOND &&
	    ph_syscall(PH_NR_clock_gettime, CLOCK_REALTIME_COARSE, (int64_t)now, 0, 0, 0, 0) == 0)
		clock = now[0] * SECOND + now[1];
	return (clock - end) / MILLISECOND;
}

/* Attributes that anybody may ask for who may look at the file, and that are the same for all. */
static const struct {
	int64_t bytes;
	char name[NAME_ROOM];
} attributes[] = {
	{ 16, "security.selinux" }, { 23, "system.posix_acl_access" }, { 24, "system.posix_acl_default" }
};

int64_t ph_attribute(struct ph_k *k, int64_t name)
{
	uint64_t words[NAME_ROOM / 8];
	int64_t bytes = copy_words(words, NAME_ROOM, name);

	(void)k;
	for (unsigned i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
		const uint64_t *known = (const uint64_t *)attributes[i].name;
		bool same = bytes == attributes[i].bytes;

		for (int64_t word = 0; same && word * 8 < bytes; word++)
			same = words[word] == known[word];
		if (same)
			return i + 1;
	}
	return 0;
}

void ph_attributes_forget(void)
{
	generation++;
	ph_notable.files = 0;
}

void ph_attributes_init(void)
{
	leave();
	tried = false;
	n_devices = wanted = 0;
	ph_attributes_forget();
}

void ph_attributes_before(const struct ph_call *c)
{
	if (ph_keeper_ends(c->nr))	/* what other users know is not for this one to say */
		leave();
	if (c->nr != PH_NR_getxattr && c->nr != PH_NR_lgetxattr &&
	    ((uint64_t)c->nr >= PH_NR_MAX || ph_calls[c->nr].class != INERT))
		ph_attributes_forget();
}

/* Answers to stat from the keeper's table. Nothing here is locked, waits or allocates; in doubt there is no answer. */
#include "examined.h"

#include "keeper.h"
#include "numbers.h"
#include "spelling.h"

enum {
	SIGURG = 23, NR_getresuid = 118, NR_getresgid = 120, NR_getgroups = 115, NR_capget = 125, NO_AUTOMOUNT = 0x800,
	CAPABILITIES = 0x20080522, GROUPS = 64, TURNS = 64, PROBES = 64, ALIVE_MS = 1000,
	TRIED = 200000, ANSWERS = 8	/* of so many paths, one in so many has to be answered */
};

struct ph_rule_control *ph_examined_rule;

static struct ph_examined *table;
static bool akin;	/* the kernel takes this process for the same as the keeper */

/* Where this process stands, as of so many moves; both in one word, so that a handler never finds them apart. */
static _Atomic uint64_t stands;		/* moves << 32 | 1 + a start's index, or 0 */

static uint64_t hash_file(uint64_t seed, const char *path)
{
	int64_t fd = ph_syscall(PH_NR_openat, PH_AT_FDCWD, (int64_t)path, PH_O_RDONLY | PH_O_CLOEXEC, 0, 0, 0), n;
	char text[256];

	if (fd < 0)
		return seed;
	n = ph_syscall(PH_NR_read, fd, (int64_t)text, sizeof(text), 0, 0, 0);
	ph_syscall(PH_NR_close, fd, 0, 0, 0, 0, 0);
	return ph_examined_hash(seed, text, n > 0 ? (uint64_t)n : 0);
}

/* Whom the kernel takes us for: the keeper makes the same of itself (core/keeper/watches.c). 0: it can't be said. */
static uint64_t who(void)
{
	uint32_t ids[6], groups[GROUPS], header[2] = { CAPABILITIES, 0 }, caps[6] = { 0 };
	int64_t n = ph_syscall(NR_getgroups, GROUPS, (int64_t)groups, 0, 0, 0, 0);
	uint64_t hash;

	if (n < 0 || ph_syscall(NR_getresuid, (int64_t)&ids[0], (int64_t)&ids[1], (int64_t)&ids[2], 0, 0, 0) < 0 ||
	    ph_syscall(NR_getresgid, (int64_t)&ids[3], (int64_t)&ids[4], (int64_t)&ids[5], 0, 0, 0) < 0 ||
	    ph_syscall(NR_capget, (int64_t)header, (int64_t)caps, 0, 0, 0, 0) < 0)
		return 0;
	hash = ph_examined_hash(PH_EXAMINED_SEED, ids, sizeof(ids));
	hash = ph_examined_hash(hash, groups, (uint64_t)n * sizeof(*groups));
	hash = ph_examined_hash(hash, caps, sizeof(caps));
	return hash_file(hash, "/proc/thread-self/attr/current");
}

static struct ph_examined *map_table(void)
{
	const struct ph_rule_control *rule = ph_examined_rule;
	char path[PH_FD_PATH_OF];
	struct ph_identity id;
	struct ph_examined *t;
	int64_t fd, at = -1;

	ph_fd_path_of(path, ph_control->keeper_pid, (int64_t)rule->table_fd - 1);
	fd = ph_syscall(PH_NR_openat, PH_AT_FDCWD, (int64_t)path, PH_O_RDWR | PH_O_CLOEXEC, 0, 0, 0);
	if (fd < 0)
		return NULL;
	if (ph_identify(fd, &id) == 0 && id.dev == ph_control->keeper_dev && id.ino == rule->table_ino &&
	    id.size == sizeof(*t))
		at = ph_syscall(PH_NR_mmap, 0, sizeof(*t), PH_PROT_READ | PH_PROT_WRITE, PH_MAP_SHARED | PH_MAP_NORESERVE, fd, 0);
	ph_syscall(PH_NR_close, fd, 0, 0, 0, 0, 0);
	t = (struct ph_examined *)at;
	return at > 0 && t->magic == PH_EXAMINED_MAGIC && t->size_bytes == sizeof(*t) ? t : NULL;
}

/* The keeper has something to do. */
static void wake(void)
{
	if (atomic_load(&table->asleep) && atomic_exchange(&table->asleep, 0))
		ph_syscall(PH_NR_kill, ph_control->keeper_pid, SIGURG, 0, 0, 0, 0);
}

void ph_examined_join(void)
{
	if (!ph_examined_rule || !ph_control->keeper_pid || !ph_examined_rule->table_fd)
		return;
	table = table ? table : map_table();	/* it stays when the runtime is taken out of a program, and put in again */
	if (!table) {
		ph_examined_end();
		return;
	}
	akin = table->who && who() == table->who;
	atomic_fetch_or(&table->rules, 1u << (ph_examined_rule - ph_control->rules));
	ph_changes_join(table);
	wake();		/* what its parent has just changed is heard of before this program asks for anything */
}

struct ph_examined *ph_examined_table(void)
{
	return table;
}

void ph_examined_end(void)
{
	if (ph_examined_rule)
		__atomic_store_n(&ph_examined_rule->table_fd, 0, __ATOMIC_SEQ_CST);
}

/* Whether every change of a file in the tree is told of, and the keeper has heard of all of them. */
static bool in_force(const struct ph_k *k)
{
	static uint32_t turns;
	uint64_t begun = atomic_load(&table->begun);

	if (atomic_load(&table->drained) != begun) {
		wake();
		return false;
	}
	if (!__atomic_load_n(&ph_examined_rule->table_fd, __ATOMIC_SEQ_CST) ||
	    __atomic_load_n(&ph_control->n_uncovered, __ATOMIC_SEQ_CST) ||
	    __atomic_load_n(&ph_control->master, __ATOMIC_SEQ_CST) != 1 ||
	    __atomic_load_n(&ph_layers[k->layer].control->enabled, __ATOMIC_SEQ_CST) != 1)
		return false;
	/* A keeper that was killed, or has no time. */
	if (turns++ % TURNS == 0 && ph_now_ms(NULL) - (int64_t)atomic_load(&table->alive_ms) > ALIVE_MS) {
		turns = 0;
		return false;
	}
	return true;
}

/* --- paths ------------------------------------------------------------------------------------------------------ */

struct asked {
	uint64_t hash;
	uint32_t start, bytes;
	char path[PH_EXAMINED_PATH];
};

/* Not "", "/a", "a/" or "a//b", nor with a part that is "." or "..". */
static bool is_plain(const char *path)
{
	int64_t part = 0, i = 0;

	do {
		if (path[i] && path[i] != '/')
			continue;
		if (i == part || (path[part] == '.' && (i == part + 1 || (path[part + 1] == '.' && i == part + 2))))
			return false;
		part = i + 1;
	} while (path[i++]);
	return true;
}

static bool same_bytes(const char *a, const char *b, uint32_t n)
{
	uint32_t i = 0;

	while (i < n && a[i] == b[i])
		i++;
	return i == n;
}

/* A place for n bytes of a path, or -1. */
static int64_t put_path(const char *path, uint32_t n)
{
	uint32_t at;

	if (atomic_load(&table->n_paths) > PH_EXAMINED_PATHS - n)
		return -1;
	at = atomic_fetch_add(&table->n_paths, n);
	if (at > PH_EXAMINED_PATHS - n)
		return -1;
	for (uint32_t i = 0; i < n; i++)
		table->paths[at + i] = path[i];
	return at;
}

static uint32_t find_start(const struct ph_identity *id)
{
	for (uint32_t i = 0; i < PH_EXAMINED_STARTS; i++)
		if (atomic_load(&table->starts[i].ready) && table->starts[i].dev == id->dev && table->starts[i].ino == id->ino)
			return i + 1;
	return 0;
}

static uint32_t new_start(const struct ph_identity *id)
{
	char path[PH_EXAMINED_PATH];
	int64_t n = ph_syscall(PH_NR_getcwd, (int64_t)path, sizeof(path), 0, 0, 0, 0), at;
	struct ph_start *start;
	uint32_t i;

	if (n <= 1 || path[0] != '/' || atomic_load(&table->n_starts) >= PH_EXAMINED_STARTS)
		return 0;
	at = put_path(path, (uint32_t)n);
	i = at < 0 ? PH_EXAMINED_STARTS : atomic_fetch_add(&table->n_starts, 1);
	if (i >= PH_EXAMINED_STARTS)
		return 0;
	start = &table->starts[i];
	start->path = (uint32_t)at;
	start->bytes = (uint32_t)n - 1;
	start->dev = id->dev;
	start->ino = id->ino;
	atomic_store(&start->ready, 1);
	return i + 1;
}

/* 1 + the start's index, or 0. `look`: the kernel may be asked. */
static uint32_t stands_at(bool look)
{
	uint64_t moves = ph_changes_moves(), known = atomic_load(&stands);
	struct ph_identity id;
	uint32_t start;

	if (moves & 1)
		return 0;
	if ((uint32_t)known && known >> 32 == moves)
		return (uint32_t)known;
	if (!look || ph_identify_path((int64_t)".", &id) < 0)
		return 0;
	start = find_start(&id);
	start = start ? start : new_start(&id);
	/* Who has moved since stands elsewhere: the moves tell. */
	atomic_store(&stands, moves << 32 | start);
	return ph_changes_moves() == moves ? start : 0;
}

/* --- files ------------------------------------------------------------------------------------------------------ */

static bool is_it(const struct ph_examined_file *file, const struct asked *a)
{
	return file->start == a->start && file->bytes == a->bytes && file->path <= PH_EXAMINED_PATHS - a->bytes &&
	       same_bytes(table->paths + file->path, a->path, a->bytes);
}

/* The file, or NULL, and then *free is where it would be, if anywhere. */
static struct ph_examined_file *find_file(const struct asked *a, _Atomic uint64_t **free)
{
	const uint64_t tag = a->hash & ~(uint64_t)(PH_EXAMINED_SLOTS - 1);

	*free = NULL;
	for (unsigned i = 0; i < PROBES; i++) {
		_Atomic uint64_t *slot = &table->slots[(a->hash + i) % PH_EXAMINED_SLOTS];
		uint64_t found = atomic_load_explicit(slot, memory_order_acquire);
		struct ph_examined_file *file = &table->files[(found - 1) % PH_EXAMINED_FILES];

		if (!found) {
			*free = slot;
			return NULL;
		}
		if ((found & ~(uint64_t)(PH_EXAMINED_SLOTS - 1)) == tag && is_it(file, a))
			return file;
	}
	return NULL;
}

struct ph_stat {	/* the kernel's struct stat */
	uint64_t dev, ino, links;
	uint32_t mode, uid, gid, unused;
	uint64_t rdev;
	int64_t size, blksize, blocks;
	int64_t times[6];
	int64_t room[3];
};
_Static_assert(sizeof(struct ph_stat) == 144, "struct stat of x86-64");

/* What is known of the file, if it holds. */
static bool look_up(struct ph_examined_file *file, struct ph_stat *to)
{
	uint64_t generation = atomic_load(&table->generation);
	uint32_t version = atomic_load_explicit(&file->version, memory_order_acquire);
	bool holds;

	if (version & 1 || file->generation != generation)
		return false;
	*to = (struct ph_stat){
		.dev = file->dev, .ino = file->ino, .links = 1, .mode = file->mode, .uid = file->uid, .gid = file->gid,
		.size = file->size, .blksize = file->blksize, .blocks = file->blocks,
		.times = { file->accessed_s, file->accessed_ns, file->modified_s, file->modified_ns, file->changed_s,
			   file->changed_ns },
	};
	holds = atomic_load(&table->folders[file->folder % PH_EXAMINED_FOLDERS]) == file->folder_age &&
		atomic_load(&table->marks[ph_mark_of(file->dev, file->ino)]) == file->mark;
	atomic_thread_fence(memory_order_acquire);
	return holds && atomic_load_explicit(&file->version, memory_order_relaxed) == version;
}

static void ask_new(const struct asked *a, _Atomic uint64_t *slot)
{
	struct ph_examined_file *file;
	uint64_t nothing = 0;
	int64_t path;
	uint32_t i;

	if (!slot || atomic_load(&table->n_files) >= PH_EXAMINED_FILES)
		return;
	path = put_path(a->path, a->bytes);
	i = path < 0 ? PH_EXAMINED_FILES : atomic_fetch_add(&table->n_files, 1);
	if (i >= PH_EXAMINED_FILES)
		return;
	file = &table->files[i];
	file->path = (uint32_t)path;
	file->bytes = (uint16_t)a->bytes;
	file->start = (uint16_t)a->start;
	atomic_store(&file->wanted, PH_WANTED);
	atomic_store(&file->version, 2);
	/* Another process may have been faster: the file is in the table twice then, or in vain. */
	atomic_compare_exchange_strong(slot, &nothing, (a->hash & ~(uint64_t)(PH_EXAMINED_SLOTS - 1)) | (i + 1));
}

/* Something has happened in its folder since. */
static bool refused_long_ago(const struct ph_examined_file *file)
{
	return atomic_load(&table->folders[file->folder % PH_EXAMINED_FOLDERS]) != file->folder_age;
}

static void ask(const struct asked *a, struct ph_examined_file *file, _Atomic uint64_t *free)
{
	uint32_t wanted = file ? atomic_load(&file->wanted) : PH_UNKNOWN;

	if (!file)
		ask_new(a, free);
	else if (wanted != PH_WANTED && (wanted != PH_REFUSED || refused_long_ago(file)) &&
		 atomic_compare_exchange_strong(&file->wanted, &wanted, PH_WANTED))
		atomic_fetch_add(&table->again, 1);
	wake();
}

/* Whether asking has paid so far; it can't before a second command asks. */
static bool pays(uint32_t asked, uint32_t answered)
{
	return asked < TRIED || answered >= asked / ANSWERS;
}

/* A trial asks, and looks up; what has to be done with the kernel's help is where the process stands. */
int64_t ph_examined(struct ph_k *k, int64_t dir, int64_t path, int64_t to, int64_t flags)
{
	static uint32_t n_asked, n_answered;	/* more or less, where there are threads */
	bool trial = k->walk->trial;
	struct ph_examined_file *file;
	_Atomic uint64_t *free;
	struct ph_stat stat;
	struct asked a;
	int64_t n;

	if ((int32_t)dir != PH_AT_FDCWD || (flags & ~(int64_t)(PH_AT_SYMLINK_NOFOLLOW | NO_AUTOMOUNT)))
		return 0;
	if (!table || !akin || ph_changes_stranger() || !__atomic_load_n(&ph_examined_rule->table_fd, __ATOMIC_RELAXED))
		return 0;
	a.start = pays(n_asked, n_answered) ? stands_at(!trial) : 0;
	if (!a.start || !trial)
		return 0;
	n_asked++;
	n = ph_copy_string(a.path, sizeof(a.path), (const char *)path);
	if (n < 0 || !is_plain(a.path))
		return 0;
	a.bytes = (uint32_t)n;
	a.hash = ph_examined_hash(PH_EXAMINED_SEED + a.start * 0x9e3779b97f4a7c15ull, a.path, a.bytes);
	a.hash ^= a.hash >> 29;
	file = find_file(&a, &free);
	if (file && in_force(k) && look_up(file, &stat)) {
		n_answered++;
		return ph_copy_out((void *)to, &stat, sizeof(stat)) == 0;
	}
	ask(&a, file, free);
	return 0;
}

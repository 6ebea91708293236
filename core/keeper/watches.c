#define _GNU_SOURCE
#include "watches.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "folders.h"
#include "peephole/abi_examined.h"

#define SLICE 64		/* files that are examined without a look at what has changed */
#define DOUBT_MS 3
#define AGAIN_MS 40
#define TENURE_MS 600000	/* what nobody tells of is found out after so long */
#define YOUNG_S 60		/* a file changed since has data that have no place on the disk yet: its blocks may change */
#define GROUPS 64

static struct ph_control *control;
static struct ph_examined *table;
static int64_t at_ms, begun_ms, again_ms;
static uint64_t again;		/* as of the pass that goes on or went last */
static uint32_t next;		/* the file that the pass looks at next */

/* As core/runtime/examined.c makes it of a process. */
static uint64_t who(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2] = { 0 };
	uint32_t ids[6], groups[GROUPS];
	char text[256];
	int n = (int)syscall(SYS_getgroups, GROUPS, groups), fd;
	uint64_t hash;
	ssize_t got;

	if (n < 0 || getresuid(&ids[0], &ids[1], &ids[2]) < 0 || getresgid(&ids[3], &ids[4], &ids[5]) < 0 ||
	    syscall(SYS_capget, &header, caps) < 0)
		return 0;
	hash = ph_examined_hash(PH_EXAMINED_SEED, ids, sizeof(ids));
	hash = ph_examined_hash(hash, groups, (uint64_t)n * sizeof(*groups));
	hash = ph_examined_hash(hash, caps, sizeof(caps));
	fd = open("/proc/thread-self/attr/current", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return hash;
	got = read(fd, text, sizeof(text));
	close(fd);
	return ph_examined_hash(hash, text, got > 0 ? (uint64_t)got : 0);
}

int ph_watches_begin(struct ph_control *c, uint32_t rules)
{
	int memory = rules ? memfd_create("peephole-files", MFD_CLOEXEC) : -1;
	struct stat st;
	void *at;

	if (memory < 0 || ftruncate(memory, sizeof(*table)) < 0 || fstat(memory, &st) < 0)
		return -1;
	at = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory, 0);
	if (at == MAP_FAILED)
		return -1;
	table = at;
	if (ph_folders_begin(table) < 0)
		return -1;
	control = c;
	table->magic = PH_EXAMINED_MAGIC;
	table->size_bytes = sizeof(*table);
	table->who = who();
	atomic_store(&table->generation, 1);
	begun_ms = now_ms(CLOCK_MONOTONIC);
	for (uint32_t i = 0; i < PH_RULES_MAX; i++) {
		if (!(rules & (1u << i)))
			continue;
		control->rules[i].table_ino = st.st_ino;
		__atomic_store_n(&control->rules[i].table_fd, (uint64_t)memory + 1, __ATOMIC_RELEASE);
	}
	return 0;
}

int ph_watches_fd(void)
{
	return table ? ph_folders_fd() : -1;
}

void ph_watches_forget(void)
{
	if (table)
		atomic_fetch_add(&table->generation, 1);
}

/* Whether it is a process; its place is free when it has ended. */
static bool lives(struct ph_changer *one)
{
	uint32_t pid = atomic_load(&one->pid);

	if (pid && kill((pid_t)pid, 0) < 0 && errno == ESRCH) {
		atomic_store(&one->flights, 0);
		atomic_compare_exchange_strong(&one->pid, &pid, 0);
		return false;
	}
	return pid;
}

/* Whether some process is in the middle of a change. One that has ended is not. */
static bool some_change(void)
{
	bool some = false;

	for (unsigned i = 0; i < PH_EXAMINED_CHANGERS; i++)
		if (atomic_load(&table->changers[i].flights) && lives(&table->changers[i]))
			some = true;
	return some;
}

static void forget_dead(void)
{
	for (unsigned i = 0; i < PH_EXAMINED_CHANGERS; i++)
		lives(&table->changers[i]);
}

/* Everything that processes of the tree have done until now has been told by then. */
static void hear(void)
{
	uint64_t begun = atomic_load(&table->begun);
	bool some = some_change();

	if (!ph_folders_hear())
		ph_watches_forget();
	if (!some)
		atomic_store(&table->drained, begun);
}

/* --- examining ----------------------------------------------------------------------------------------------------- */

struct found {
	struct ph_examined_file *file;
	struct stat st;
	uint32_t folder, folder_age;
	bool plain, old;
};

/* On a mount where the rule may act. */
static bool is_covered(const struct stat *st)
{
	for (uint32_t i = 0; i < control->n_mounts && i < PH_MOUNTS_MAX; i++)
		if (control->mounts[i].dev == st->st_dev)
			return control->mounts[i].rules & atomic_load(&table->rules);
	return false;
}

/* Its blocks are where they stay. */
static bool is_old(int folder, const struct stat *st)
{
	time_t since = st->st_mtime > st->st_ctime ? st->st_mtime : st->st_ctime;
	struct timespec now;
	struct statfs fs;

	clock_gettime(CLOCK_REALTIME, &now);
	if (now.tv_sec - since > YOUNG_S)
		return true;
	return fstatfs(folder, &fs) == 0 && fs.f_type == TMPFS_MAGIC;	/* there is no disk */
}

/* One file, whose path is hostile. */
static void examine(struct found *f, struct ph_examined_file *file)
{
	char path[PH_EXAMINED_PATH];
	const struct ph_start *start;
	const char *name;
	int folder;

	*f = (struct found){ .file = file };
	f->folder_age = atomic_load(&table->folders[0]);
	if (file->bytes >= sizeof(path) || file->path > PH_EXAMINED_PATHS - file->bytes || !file->start ||
	    file->start > PH_EXAMINED_STARTS)
		return;
	start = &table->starts[file->start - 1];
	memcpy(path, table->paths + file->path, file->bytes);
	path[file->bytes] = 0;
	if (strlen(path) != file->bytes)
		return;
	folder = ph_folders_open(start, file->start, path, &name, &f->folder);
	if (folder < 0) {
		f->folder = 0;
		return;
	}
	f->folder_age = atomic_load(&table->folders[f->folder]);
	/* Another link could be changed where nobody watches. */
	f->plain = fstatat(folder, name, &f->st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(f->st.st_mode) && f->st.st_nlink == 1 &&
		   is_covered(&f->st);
	f->old = f->plain && is_old(folder, &f->st);
}

static void put(const struct found *f, uint32_t mark, uint64_t generation)
{
	struct ph_examined_file *to = f->file;
	const struct stat *st = &f->st;
	uint32_t version = atomic_load(&to->version);

	atomic_store(&to->version, version | 1);
	atomic_thread_fence(memory_order_seq_cst);
	to->folder = f->folder;
	to->folder_age = f->folder_age;
	to->mark = mark;
	to->dev = st->st_dev;
	to->ino = st->st_ino;
	to->size = st->st_size;
	to->blocks = st->st_blocks;
	to->blksize = (uint32_t)st->st_blksize;
	to->mode = st->st_mode;
	to->uid = st->st_uid;
	to->gid = st->st_gid;
	to->accessed_s = st->st_atim.tv_sec;
	to->accessed_ns = (uint32_t)st->st_atim.tv_nsec;
	to->modified_s = st->st_mtim.tv_sec;
	to->modified_ns = (uint32_t)st->st_mtim.tv_nsec;
	to->changed_s = st->st_ctim.tv_sec;
	to->changed_ns = (uint32_t)st->st_ctim.tv_nsec;
	to->generation = generation;
	atomic_store(&to->version, (version | 1) + 1);
}

/* Up to SLICE files that somebody has asked for. What was found counts if nobody has begun a change meanwhile. */
static bool examine_some(void)
{
	static struct found found[SLICE];
	uint32_t marks[SLICE], end = atomic_load(&table->n_files), n = 0;
	uint64_t changes = atomic_load(&table->changes), generation = atomic_load(&table->generation);

	if (end > PH_EXAMINED_FILES)
		end = PH_EXAMINED_FILES;
	if (some_change())
		return false;
	for (; next < end && n < SLICE; next++) {
		struct ph_examined_file *file = &table->files[next];

		if (atomic_load(&file->version) && atomic_load(&file->wanted) == PH_WANTED)
			examine(&found[n++], file);
	}
	for (uint32_t i = 0; i < n; i++)
		marks[i] = atomic_load(&table->marks[ph_mark_of(found[i].st.st_dev, found[i].st.st_ino)]);
	if (atomic_load(&table->changes) != changes) {	/* once more */
		next = n ? (uint32_t)(found[0].file - table->files) : next;
		return false;
	}
	for (uint32_t i = 0; i < n; i++) {
		bool says = found[i].plain && !(marks[i] & PH_MARK_SPOILT);

		put(&found[i], marks[i], says && found[i].old ? generation : 0);
		atomic_store(&found[i].file->wanted, says ? PH_UNKNOWN : PH_REFUSED);
	}
	return n == SLICE;
}

/* Of a change that is made while the rule is off, nobody would hear. */
static bool is_over(void)
{
	bool on = __atomic_load_n(&control->master, __ATOMIC_SEQ_CST) == 1;

	for (uint32_t i = 0; i < control->n_rules && i < PH_RULES_MAX; i++)
		if (!on || ((atomic_load(&table->rules) & (1u << i)) && !control->rules[i].enabled))
			__atomic_store_n(&control->rules[i].table_fd, 0, __ATOMIC_SEQ_CST);
	return !on;
}

static void begin_anew(void)
{
	ph_watches_forget();
	ph_folders_reset();
	for (uint32_t i = 0; i < PH_EXAMINED_FILES && i < atomic_load(&table->n_files); i++) {
		uint32_t refused = PH_REFUSED;

		atomic_compare_exchange_strong(&table->files[i].wanted, &refused, PH_UNKNOWN);
	}
}

int ph_watches_look(int seldom_ms)
{
	static uint32_t asked;		/* the last time */
	int64_t now = now_ms(CLOCK_MONOTONIC);
	bool doubt;

	if (!table || is_over())
		return seldom_ms;
	atomic_store(&table->alive_ms, (uint64_t)now_ms(CLOCK_MONOTONIC_COARSE));
	hear();
	if (now - at_ms >= AGAIN_MS) {
		at_ms = now;
		forget_dead();
	}
	if (now - begun_ms >= TENURE_MS) {
		begun_ms = now;
		begin_anew();
	}
	if (again != atomic_load(&table->again) && now - again_ms >= AGAIN_MS) {
		again = atomic_load(&table->again);
		again_ms = now;
		next = 0;
	}
	if (examine_some())
		return 0;
	ph_folders_close();
	atomic_store(&table->asleep, 1);
	doubt = atomic_load(&table->begun) != atomic_load(&table->drained) || atomic_load(&table->n_files) != asked;
	asked = atomic_load(&table->n_files);
	if (!asked || !doubt)
		return seldom_ms;
	atomic_store(&table->asleep, 0);
	return DOUBT_MS;
}

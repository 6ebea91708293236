/* Syncs that are made later: see owed.h and rule.h. */
#include "owed.h"

#include "calls.h"
#include "numbers.h"
#include "opens.h"

#define FD_BITS 12
#define PID_BITS 22
#define WHOLE (1ull << (FD_BITS + PID_BITS))	/* some fsync is owed, else only fdatasync */
#define NUMBER_AT (FD_BITS + PID_BITS + 1)
#define INO_BITS 40
#define LONG_AGO (1 << 30)
#define TRIES 16
#define LATELY_MS 100

_Static_assert(PH_FDS <= 1 << FD_BITS, "a descriptor's place");

enum { TMPFS_MAGIC = 0x01021994, SHARED = 1, SHARED_VALIDATE = 3, MAP_TYPE = 0xf, ACCMODE = 3, NONBLOCK = 04000, NOCTTY = 0400, EACCES = 13 };

bool ph_owed_used;

static const bool quiet[PH_NR_MAX] = {
#define PH_CALL(nr, name, class, fd_arg, fd_arg2)
#define PH_QUIET(nr, name) [nr] = true,
#include "calls.def"
};

struct debt {
	uint64_t by, file;
};

/* The two words as one; file 0, which no file has, when others change them all the time. */
static struct debt owed_now(void)
{
	const struct ph_owed *o = &ph_control->owed;

	for (int i = 0; i < TRIES; i++) {
		struct debt d = { __atomic_load_n(&o->by, __ATOMIC_SEQ_CST), 0 };

		d.file = __atomic_load_n(&o->file, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&o->by, __ATOMIC_SEQ_CST) == d.by)
			return d;
	}
	return (struct debt){ 1, 0 };
}

static bool swap_owed(struct debt from, struct debt to)
{
	bool done;

	__asm__ volatile("lock cmpxchg16b %1"
			 : "=@ccz"(done), "+m"(ph_control->owed), "+a"(from.by), "+d"(from.file)
			 : "b"(to.by), "c"(to.file)
			 : "memory");
	return done;
}

static int64_t fd_in(uint64_t by)
{
	return (int64_t)(by & ((1 << FD_BITS) - 1));
}

static int64_t pid_in(uint64_t by)
{
	return (int64_t)(by >> FD_BITS & ((1 << PID_BITS) - 1));
}

/* Unlike any before it in this process; also in an image before this one. */
static uint64_t next_number(void)
{
	static _Atomic uint64_t number;
	uint64_t none = 0;

	if (!atomic_load(&number))
		atomic_compare_exchange_strong(&number, &none, (uint64_t)ph_now_ms(NULL) << 8);
	return atomic_fetch_add(&number, 1) + 1;
}

static int64_t own;	/* this process's number, or 0 */

static int64_t own_pid(void)
{
	if (!own)
		own = ph_syscall(PH_NR_getpid, 0, 0, 0, 0, 0, 0);
	return own;
}

void ph_owed_adopt(void)
{
	own = 0;
}

/* A file in one word, or 0 where it does not fit. */
static uint64_t file_word(uint64_t dev, uint64_t ino)
{
	return dev < 1ull << (64 - INO_BITS) && ino < 1ull << INO_BITS ? dev << INO_BITS | ino : 0;
}

static uint64_t file_of(const struct ph_description *d)
{
	return d && d->identified && d->regular ? file_word(d->dev, d->ino) : 0;
}

/* What is no regular file has nothing that a crash could leave behind; of a descriptor that is closed the call fails. */
static bool harmless(int64_t fd, uint64_t owing)
{
	const struct ph_description *d = ph_description_of(fd);
	struct ph_identity id;

	if (d && d->identified && d->regular)
		return file_of(d) == owing;
	if (ph_identify(fd, &id) < 0)
		return true;
	switch (id.mode & PH_S_IFMT) {
	case PH_S_IFREG:
		return file_word(id.dev, id.ino) == owing;
	case PH_S_IFCHR:
	case PH_S_IFIFO:
	case PH_S_IFSOCK:
		return true;
	default:
		return false;
	}
}

static bool closes_it(struct debt owed, int64_t fd)
{
	return fd_in(owed.by) == fd && pid_in(owed.by) == own_pid();
}

bool ph_owed_passes(int64_t nr)
{
	return (quiet[nr] || ph_calls[nr].class == INERT) && nr != PH_NR_epoll_wait;
}

bool ph_owed_may_wait(const struct ph_call *c)
{
	struct debt owed = owed_now();
	const struct call_row *row;

	if (c->nr < 0 || c->nr >= PH_NR_MAX)
		return false;
	if (quiet[c->nr])
		return true;
	row = &ph_calls[c->nr];
	switch ((enum call_class)row->class) {
	case INERT:
		return true;
	case FD:
		return harmless((int32_t)c->a[row->fd_arg], owed.file) &&
		       (row->fd_arg2 < 0 || harmless((int32_t)c->a[row->fd_arg2], owed.file));
	case CLOSE:
		return !closes_it(owed, (int32_t)c->a[row->fd_arg]);
	case DUP:
		return row->fd_arg2 < 0 || !closes_it(owed, (int32_t)c->a[row->fd_arg2]);
	case MAPS:
		return (c->a[3] & PH_MAP_ANONYMOUS) != 0;
	case ANY:
	case CLOSES:
	case OPEN:
	case FORK:
	case EXEC:
	case EXIT:
	case WAIT:
		return false;
	}
	return false;
}

static char *digits(char *to, int64_t n)
{
	int64_t ten = 1;

	while (n / ten >= 10)
		ten *= 10;
	for (; ten; ten /= 10)
		*to++ = (char)('0' + n / ten % 10);
	return to;
}

static char *word(char *to, const char *from)
{
	while (*from)
		*to++ = *from++;
	return to;
}

static bool is_file(const struct ph_identity *id, struct debt owed)
{
	return file_word(id->dev, id->ino) == owed.file;
}

static int64_t make_sync(struct debt owed, int64_t fd)
{
	return ph_syscall(owed.by & WHOLE ? PH_NR_fsync : PH_NR_fdatasync, fd, 0, 0, 0, 0, 0);
}

static void count_failure(void)
{
	__atomic_fetch_add(&ph_control->settle_failures, 1, __ATOMIC_RELAXED);
}

/* No sync is put off any more: the program's next one asks the kernel, which tells each description once of a failure. */
static void put_no_more_off(void)
{
	__atomic_fetch_add(&ph_control->owed.blind, 1, __ATOMIC_SEQ_CST);
}

/* The file that another process owes, through /proc; where it can't be reached, everything goes to the disk: once, where
 * the process is gone. */
static int64_t sync_elsewhere(struct debt owed)
{
	char path[64], *end = word(path, "/proc/");
	struct ph_identity id;
	int64_t fd, r;

	end = digits(end, pid_in(owed.by));
	end = digits(word(end, "/fd/"), fd_in(owed.by));
	*end = 0;
	fd = ph_identify_path((int64_t)path, &id);
	if (fd == 0)	/* looked at first, since opening a device may do something */
		fd = is_file(&id, owed) ? ph_syscall(PH_NR_openat, PH_AT_FDCWD, (int64_t)path,
						     PH_O_RDONLY | PH_O_CLOEXEC | NONBLOCK | NOCTTY, 0, 0, 0) : -PH_EBADF;
	if (fd == -EACCES)
		put_no_more_off();
	if (fd < 0 || ph_identify(fd, &id) < 0 || !is_file(&id, owed)) {
		r = ph_syscall(PH_NR_sync, 0, 0, 0, 0, 0, 0);
	} else {
		r = make_sync(owed, fd);
		if (r < 0) {
			put_no_more_off();
			count_failure();
		}
	}
	if (fd >= 0)
		ph_syscall(PH_NR_close, fd, 0, 0, 0, 0, 0);
	return r;
}

static void keep_error(struct ph_walk *walk, int64_t fd, int64_t error)
{
	struct ph_description *d;
	struct ph_walk own;

	if (!walk)
		ph_walk_begin(&own, NULL);
	ph_walk_hold(walk ? walk : &own);
	d = ph_description_of(fd);
	if (d && !d->error)
		d->error = error;
	if (!walk)
		ph_walk_end(&own);
	count_failure();
}

static void note_sync(uint64_t file)
{
	__atomic_store_n(&ph_control->owed.synced_ms, (uint64_t)ph_now_ms(NULL), __ATOMIC_RELAXED);
	__atomic_store_n(&ph_control->owed.synced_file, file, __ATOMIC_RELEASE);
}

/* How long after a sync, at the most, the next one is made. */
static int64_t window_ms(void)
{
	return (int64_t)__atomic_load_n(&ph_control->owed.window_ms, __ATOMIC_RELAXED);
}

/* What a rule lets wait for `ms` from now on; 1 or more. */
static void note_due(uint64_t file, int64_t ms)
{
	struct ph_owed *o = &ph_control->owed;
	int64_t now = ph_now_ms(NULL), last = now;

	if (__atomic_load_n(&o->synced_file, __ATOMIC_ACQUIRE) == file)
		last = (int64_t)__atomic_load_n(&o->synced_ms, __ATOMIC_RELAXED);
	ms = ms < 1 ? 1 : ms;
	__atomic_store_n(&o->window_ms, (uint64_t)(now - last + ms), __ATOMIC_RELAXED);
	__atomic_store_n(&o->due_ms, (uint64_t)(now + ms), __ATOMIC_RELAXED);
}

void ph_owed_settle(struct ph_walk *walk)
{
	struct debt owed = owed_now();
	struct ph_identity id;
	int64_t fd = fd_in(owed.by), r;

	if (!owed.by)
		return;
	/* Nobody else need make it in time; and what is asked for from here on may wait so long. */
	__atomic_store_n(&ph_control->owed.due_ms, (uint64_t)(ph_now_ms(NULL) + window_ms()), __ATOMIC_RELAXED);
	if (owed.file && pid_in(owed.by) == own_pid() && ph_identify(fd, &id) == 0 && is_file(&id, owed)) {
		r = make_sync(owed, fd);
		if (r < 0)
			keep_error(walk, fd, r);
	} else {
		r = sync_elsewhere(owed);
	}
	if (r >= 0 && owed.file)
		note_sync(owed.file);
	/* Else another sync has been asked for since; nothing that begins now comes after it. */
	swap_owed(owed, (struct debt){ 0, 0 });
}

int64_t ph_owed_sync(const struct ph_description *d, const struct ph_call *c)
{
	struct debt owed = owed_now();
	uint64_t file = file_of(d);
	int64_t r = ph_syscall(c->nr, c->a[0], 0, 0, 0, 0, 0);

	if (r < 0 || !file)
		return r;
	if (owed.by && owed.file == file)
		swap_owed(owed, (struct debt){ 0, 0 });
	note_sync(file);
	return r;
}

/* For how many milliseconds what this process owes may wait: 0 when nothing may. What is due is made, by one process. */
static int64_t left_ms(void)
{
	struct ph_owed *o = &ph_control->owed;
	uint64_t by = __atomic_load_n(&o->by, __ATOMIC_SEQ_CST), due = __atomic_load_n(&o->due_ms, __ATOMIC_RELAXED);
	int64_t now = ph_now_ms(NULL), left = (int64_t)due - now;

	if (!by || pid_in(by) != own_pid())
		return 0;
	if (left > 0)
		return left;
	if (__atomic_compare_exchange_n(&o->due_ms, &due, (uint64_t)(now + window_ms()), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		ph_owed_settle(NULL);
	return ph_owed_any() ? window_ms() : 0;
}

bool ph_owed_wait(struct ph_call *c)
{
	int64_t asked = (int32_t)c->a[3], left = left_ms();

	if (!left || (asked >= 0 && asked <= left))
		return false;
	while (left && (asked < 0 || asked > left)) {
		c->ret = ph_syscall(c->nr, c->a[0], c->a[1], c->a[2], left, 0, 0);
		if (c->ret != 0)
			return true;
		asked -= asked < 0 ? 0 : left;
		left = left_ms();
	}
	c->ret = ph_syscall(c->nr, c->a[0], c->a[1], c->a[2], asked, 0, 0);
	return true;
}

int ph_owed_look(int often_ms, int seldom_ms)
{
	const struct ph_owed *o = &ph_control->owed;
	static int64_t took_ms, seen_ms;
	bool any = __atomic_load_n(&o->by, __ATOMIC_SEQ_CST);
	int64_t due = (int64_t)__atomic_load_n(&o->due_ms, __ATOMIC_RELAXED), now = ph_now_ms(NULL);

	seen_ms = any ? now : seen_ms;
	if (any && due - now <= often_ms + took_ms) {
		ph_owed_settle(NULL);
		took_ms = ph_now_ms(NULL) - now;
		now += took_ms;
		any = ph_owed_any();
		due = (int64_t)__atomic_load_n(&o->due_ms, __ATOMIC_RELAXED);
	}
	if (now - seen_ms >= LATELY_MS)
		return seldom_ms;
	/* What is owed from now on is due so long after the last sync. */
	due = (any ? due : (int64_t)__atomic_load_n(&o->synced_ms, __ATOMIC_RELAXED) + window_ms()) - often_ms - took_ms;
	return due - now > often_ms ? (int)(due - now) : often_ms;
}

void ph_owed_blind(int by)
{
	if (!ph_owed_used)
		return;
	__atomic_fetch_add(&ph_control->owed.blind, (uint64_t)(int64_t)by, __ATOMIC_SEQ_CST);
	if (by > 0 && ph_owed_any())
		ph_owed_settle(NULL);
}

void ph_owed_uncovered(struct ph_control *control)
{
	if (!ph_control)
		ph_control = control;
	if (__atomic_load_n(&control->owed.by, __ATOMIC_SEQ_CST))
		ph_owed_settle(NULL);
}

void ph_owed_mapped(int64_t fd, int64_t flags)
{
	int64_t fs[15];		/* struct statfs: 120 bytes, f_type first */
	int64_t type = flags & MAP_TYPE;

	if (!ph_owed_used || (type != SHARED && type != SHARED_VALIDATE) ||
	    (ph_syscall(PH_NR_fcntl, fd, PH_F_GETFL, 0, 0, 0, 0) & ACCMODE) != PH_O_RDWR)
		return;
	/* What lies in memory only leaves nothing behind. */
	if (ph_syscall(PH_NR_fstatfs, fd, (int64_t)fs, 0, 0, 0, 0) < 0 || fs[0] != TMPFS_MAGIC)
		ph_owed_blind(1);
}

/* --- what rules ask ------------------------------------------------------------------------------------------ */

int64_t ph_sync_age(struct ph_k *k, int64_t fd)
{
	uint64_t file = file_of(ph_description_of(fd));

	if (!file || __atomic_load_n(&ph_control->owed.synced_file, __ATOMIC_ACQUIRE) != file)
		return LONG_AGO;
	return ph_now_ms(k) - (int64_t)__atomic_load_n(&ph_control->owed.synced_ms, __ATOMIC_RELAXED);
}

/* Whether every call in the tree is seen. */
static bool all_seen(unsigned layer)
{
	return !__atomic_load_n(&ph_control->owed.blind, __ATOMIC_SEQ_CST) &&
	       !__atomic_load_n(&ph_control->n_uncovered, __ATOMIC_SEQ_CST) &&
	       __atomic_load_n(&ph_control->master, __ATOMIC_SEQ_CST) == 1 &&
	       __atomic_load_n(&ph_layers[layer].control->enabled, __ATOMIC_SEQ_CST);
}

int64_t ph_owe(struct ph_k *k, int64_t fd, int64_t ms)
{
	uint64_t file = file_of(ph_description_of(fd));
	int64_t pid = own_pid();

	if (!file || fd < 0 || fd >= PH_FDS || pid >= 1 << PID_BITS)
		return 0;
	for (int i = 0; i < TRIES && all_seen(k->layer); i++) {
		struct debt owed = owed_now(), mine = { (uint64_t)(pid << FD_BITS | fd), file };

		if (owed.by && owed.file != file)
			return 0;
		mine.by |= next_number() << NUMBER_AT | (owed.by & WHOLE) | (k->call->nr == PH_NR_fsync ? WHOLE : 0);
		if (!owed.by)
			note_due(file, ms);
		/* Who goes blind says so and then looks here; here it is the other way round. What is left is made by the
		 * sync that follows. */
		if (swap_owed(owed, mine))
			return all_seen(k->layer);
	}
	return 0;
}

/* What this process changes of files, told to the tree before it is done, so that nobody is answered what was before.
 *
 * A call may be made by its stub, so that nobody here sees its end: it counts as under way until its thread makes
 * the next call that comes here. While one is, the keeper examines nothing, and hears of no change of a name. That
 * next call may be one of a signal handler's, which has come before the stub's: it is made further down the stack, by
 * more than a signal's frame.
 *
 * What is changed by a descriptor, and files that a call names, are told by their inode's mark: what was known of
 * them holds no more at once. What changes a name, which may also be that of a folder, is told by a number that the
 * keeper has to reach first. What nothing else tells (mounts, calls that are not known here) takes everything that
 * was known along. */
#include "calls.h"
#include "classes.h"
#include "examined.h"
#include "keeper.h"
#include "numbers.h"

enum {
	NR_truncate = 76, NR_chdir = 80, NR_fchdir = 81, NR_mkdir = 83, NR_rmdir = 84, NR_link = 86, NR_unlink = 87,
	NR_symlink = 88, NR_chmod = 90, NR_chown = 92, NR_lchown = 94, NR_setfsuid = 122, NR_setfsgid = 123, NR_sigaltstack = 131,
	NR_utime = 132, NR_mknod = 133, NR_umount2 = 166, NR_setxattr = 188, NR_lsetxattr = 189, NR_fsetxattr = 190,
	NR_removexattr = 197, NR_lremovexattr = 198, NR_fremovexattr = 199, NR_utimes = 235, NR_mkdirat = 258, NR_mknodat = 259,
	NR_fchownat = 260,
	NR_futimesat = 261, NR_linkat = 265, NR_symlinkat = 266, NR_fchmodat = 268, NR_sync_file_range = 277,
	NR_utimensat = 280, NR_open_by_handle_at = 304, NR_fchmodat2 = 452, MAP_TYPE = 0xf, TMPFILE = 020000000,
	TCGETS = 0x5401, ONSTACK = 0x08000000, SS_DISABLE = 2,
	UNMOUNTS = 20,		/* times, each 5 ms after the other */
	TAKING_OFF = 1,		/* beside a thread's number, so that a handler of it does not find that yet */
	SIGNAL_FRAME = 1024	/* no signal's is smaller: red zone, registers, siginfo and what fxsave saves */
};

/* Calls that change what they name: where their names stand, and the folders that those are in; -1: none. */
static const struct names {
	bool known, follows;
	int8_t dir, path, other_dir, other;
} names_of[PH_NR_MAX] = {
#define ONE(nr, dir, path, follows) [nr] = { true, follows, dir, path, -1, -1 }
	ONE(PH_NR_open, -1, 0, true), ONE(PH_NR_creat, -1, 0, true), ONE(PH_NR_openat, 0, 1, true),
	ONE(PH_NR_openat2, 0, 1, true), ONE(NR_truncate, -1, 0, true), ONE(NR_mkdir, -1, 0, false),
	ONE(NR_rmdir, -1, 0, false), ONE(NR_unlink, -1, 0, false), ONE(NR_symlink, -1, 1, false), ONE(NR_chmod, -1, 0, true),
	ONE(NR_chown, -1, 0, true), ONE(NR_lchown, -1, 0, false), ONE(NR_utime, -1, 0, true), ONE(NR_mknod, -1, 0, false),
	ONE(NR_setxattr, -1, 0, true), ONE(NR_lsetxattr, -1, 0, false), ONE(NR_removexattr, -1, 0, true),
	ONE(NR_lremovexattr, -1, 0, false), ONE(NR_utimes, -1, 0, true), ONE(NR_mkdirat, 0, 1, false),
	ONE(NR_mknodat, 0, 1, false), ONE(PH_NR_unlinkat, 0, 1, false), ONE(NR_symlinkat, 1, 2, false),
	ONE(NR_fchmodat, 0, 1, true), ONE(NR_futimesat, 0, 1, true),
	[PH_NR_rename] = { true, false, -1, 0, -1, 1 }, [NR_link] = { true, false, -1, 0, -1, 1 },
	[PH_NR_renameat] = { true, false, 0, 1, 2, 3 }, [PH_NR_renameat2] = { true, false, 0, 1, 2, 3 },
	/* With flags, which say whether a link is followed, and whether the name may be empty: both are looked at. */
	[NR_linkat] = { true, true, 0, 1, 2, 3 }, [NR_fchownat] = { true, true, 0, 1, 0, 1 },
	[NR_utimensat] = { true, true, 0, 1, 0, 1 }, [NR_fchmodat2] = { true, true, 0, 1, 0, 1 },
#undef ONE
};

static const bool quiet[PH_NR_MAX] = {
#define PH_CALL(nr, name, class, fd_arg, fd_arg2)
#define PH_QUIET(nr, name) [nr] = true,
#include "calls.def"
	/* And calls without a row that concern processes, memory and descriptors alone. */
	[26] = true /* msync */, [27] = true /* mincore */, [100] = true /* times */, [109] = true /* setpgid */,
	[112] = true /* setsid */, [115] = true /* getgroups */, [118] = true /* getresuid */, [120] = true /* getresgid */,
	[121] = true /* getpgid */, [124] = true /* getsid */, [125] = true /* capget */, [135] = true /* personality */,
	[140] = true /* getpriority */, [141] = true /* setpriority */, [149] = true /* mlock */, [150] = true /* munlock */,
	[157] = true /* prctl */, [160] = true /* setrlimit */, [203] = true /* sched_setaffinity */,
	[204] = true /* sched_getaffinity */, [213] = true /* epoll_create */, [289] = true /* signalfd4 */,
	[302] = true /* prlimit64 */, [319] = true /* memfd_create */, [424] = true /* pidfd_send_signal */,
	[434] = true /* pidfd_open */,
};

static struct ph_changer *mine;
static _Atomic uint64_t selves[PH_EXAMINED_FLIGHTS];	/* which thread each flight is of */
static uint64_t stack_at[PH_EXAMINED_FLIGHTS];		/* where its stack was then */
static bool handles_signals, on_other_stack;
static _Atomic uint32_t moves;
static bool stranger;

/* --- flights ----------------------------------------------------------------------------------------------------- */

void ph_changes_join(struct ph_examined *t)
{
	uint32_t pid = (uint32_t)ph_syscall(PH_NR_getpid, 0, 0, 0, 0, 0, 0);

	mine = NULL;
	for (unsigned i = 0; !mine && i < PH_EXAMINED_CHANGERS; i++) {
		struct ph_changer *one = &t->changers[(pid + i) % PH_EXAMINED_CHANGERS];
		uint32_t nobody = 0;

		if (atomic_load(&one->pid) == pid)	/* of the image before this one, whose threads are gone */
			atomic_store(&one->flights, 0);
		else if (!atomic_compare_exchange_strong(&one->pid, &nobody, pid))
			continue;
		mine = one;
	}
	if (!mine)
		ph_examined_end();
}

/* Not in a program of several threads, of which others may go on for a while. */
void ph_changes_leave(void)
{
	ph_changes_end();
	if (mine && !ph_hold_threaded())
		atomic_store(&mine->pid, 0);
}

/* The flight of this thread, or -1. */
static int own_flight(void)
{
	uint64_t self = ph_notable.changes ? ph_self() : 0;

	for (int i = 0; self && i < PH_EXAMINED_FLIGHTS; i++)
		if (atomic_load(&selves[i]) == self)
			return i;
	return -1;
}

/* Whether a handler of this thread's may run on a stack of its own, and where that is compared with ours tells nothing. */
static bool elsewhere(void)
{
	struct { uint64_t at; uint32_t flags, unused; uint64_t bytes; } stack = { 0 };

	return on_other_stack && (ph_syscall(NR_sigaltstack, 0, (int64_t)&stack, 0, 0, 0, 0) < 0 || !(stack.flags & SS_DISABLE));
}

/* False: it was under way already. */
static bool take_off(void)
{
	uint64_t self = ph_self();

	if (own_flight() >= 0)
		return false;
	for (int i = 0; i < PH_EXAMINED_FLIGHTS; i++) {
		uint64_t nobody = 0;

		if (!atomic_compare_exchange_strong(&selves[i], &nobody, self | TAKING_OFF))
			continue;
		stack_at[i] = (uint64_t)__builtin_frame_address(0);
		__atomic_fetch_add(&ph_notable.changes, 1, __ATOMIC_SEQ_CST);
		atomic_fetch_or(&mine->flights, 1ull << (elsewhere() ? PH_EXAMINED_FLIGHTS : i));
		atomic_store(&selves[i], self);
		return true;
	}
	atomic_fetch_or(&mine->flights, 1ull << PH_EXAMINED_FLIGHTS);
	return false;
}

void ph_changes_end(void)
{
	int i = own_flight();

	if (i < 0)
		return;
	atomic_fetch_and(&mine->flights, ~(1ull << i));
	atomic_store(&selves[i], 0);
	__atomic_fetch_sub(&ph_notable.changes, 1, __ATOMIC_SEQ_CST);
}

/* Where this call is not one of a handler's that has come in between. */
void ph_changes_past(void)
{
	int i = own_flight();

	if (i >= 0 && (!handles_signals || (uint64_t)__builtin_frame_address(0) + SIGNAL_FRAME >= stack_at[i]))
		ph_changes_end();
}

void ph_changes_handler(uint64_t flags)
{
	handles_signals = true;
	on_other_stack |= (flags & ONSTACK) != 0;
}

void ph_changes_adopt(void)
{
	if (!mine)
		return;
	ph_notable.changes = 0;
	for (int i = 0; i < PH_EXAMINED_FLIGHTS; i++)
		atomic_store(&selves[i], 0);
	ph_changes_join(ph_examined_table());
}

/* --- what is told ------------------------------------------------------------------------------------------------ */

static void mark(struct ph_examined *t, const struct ph_identity *id)
{
	atomic_fetch_add(&t->marks[ph_mark_of(id->dev, id->ino)], 1);
}

static void mark_name(struct ph_examined *t, int64_t dir, int64_t path, bool follows)
{
	struct ph_identity id;

	if ((follows ? ph_identify_at(dir, path, &id) : ph_identify_name(dir, path, &id)) == 0)
		mark(t, &id);
}

static void mark_names(struct ph_examined *t, const struct names *n, const struct ph_call *c)
{
	struct ph_identity id;
	int64_t dir = n->dir < 0 ? PH_AT_FDCWD : (int32_t)c->a[n->dir], other = PH_AT_FDCWD;

	mark_name(t, dir, c->a[n->path], n->follows);
	if (n->other < 0)
		return;
	if (n->follows && dir >= 0 && ph_identify(dir, &id) == 0)	/* the name may be empty */
		mark(t, &id);
	if (n->other_dir >= 0)
		other = (int32_t)c->a[n->other_dir];
	mark_name(t, other, c->a[n->other], false);
}

/* Nobody knows anything any more. */
static void forget(struct ph_examined *t)
{
	atomic_fetch_add(&t->generation, 1);
	atomic_fetch_add(&t->begun, 1);
}

enum kind { NOTHING, NAMES, DESCRIPTORS, MAPPING, ANYTHING, UNSEEN };

static enum kind kind_of(const struct ph_call *c)
{
	if (c->nr < 0 || c->nr >= PH_NR_MAX)
		return UNSEEN;
	switch ((enum call_class)ph_calls[c->nr].class) {
	case FD:
		return quiet[c->nr] || c->nr == PH_NR_fsync || c->nr == PH_NR_fdatasync || c->nr == NR_sync_file_range ?
		       NOTHING : DESCRIPTORS;
	case MAPS:
		return !(c->a[3] & PH_MAP_ANONYMOUS) && (c->a[3] & MAP_TYPE) != PH_MAP_PRIVATE ? MAPPING : NOTHING;
	case OPEN:
		if (c->nr == PH_NR_open || c->nr == PH_NR_openat)
			return c->a[c->nr == PH_NR_open ? 1 : 2] & (PH_O_CREAT | PH_O_TRUNC | TMPFILE) ? NAMES : NOTHING;
		return names_of[c->nr].known ? NAMES : NOTHING;
	case ANY:
		break;
	case INERT:
	case DUP:
	case CLOSE:
	case CLOSES:
	case FORK:
	case EXEC:
	case EXIT:
	case WAIT:
		return NOTHING;
	}
	if (quiet[c->nr] || c->nr == NR_chdir || c->nr == NR_fchdir)
		return NOTHING;
	switch (c->nr) {
	case PH_NR_ioctl:
		return (uint32_t)c->a[1] == TCGETS ? NOTHING : DESCRIPTORS;
	case NR_fsetxattr:
	case NR_fremovexattr:
		return DESCRIPTORS;
	case PH_NR_io_submit:
	case PH_NR_io_uring_setup:
	case NR_open_by_handle_at:
		return UNSEEN;
	default:
		return names_of[c->nr].known ? NAMES : ANYTHING;
	}
}

bool ph_changes_may(int64_t nr)
{
	struct ph_call c = { .nr = nr, .a = { 0, 0, PH_O_CREAT, PH_MAP_SHARED } };

	return ph_examined_rule && (nr == NR_chdir || nr == NR_fchdir || kind_of(&c) != NOTHING);
}

/* What fd names is about to change; false: that is no file. */
static bool tell_descriptor(struct ph_examined *t, int64_t fd, bool spoils)
{
	struct ph_identity id;

	if (fd < 0 || ph_identify(fd, &id) < 0)
		return false;
	switch (id.mode & PH_S_IFMT) {
	case PH_S_IFCHR:
	case PH_S_IFIFO:
	case PH_S_IFSOCK:
		return false;
	default:
		break;
	}
	take_off();
	atomic_fetch_add(&t->changes, 1);
	if (spoils)
		atomic_fetch_or(&t->marks[ph_mark_of(id.dev, id.ino)], PH_MARK_SPOILT);
	mark(t, &id);
	if ((id.mode & PH_S_IFMT) != PH_S_IFREG)
		forget(t);
	return true;
}

static void tell(struct ph_examined *t, enum kind kind, const struct ph_call *c)
{
	const struct call_row *row = &ph_calls[c->nr];

	switch (kind) {
	case DESCRIPTORS:
		tell_descriptor(t, (int32_t)c->a[row->fd_arg < 0 ? 0 : row->fd_arg], false);
		if (row->fd_arg2 >= 0)
			tell_descriptor(t, (int32_t)c->a[row->fd_arg2], false);
		return;
	case MAPPING:
		/* Stores are seen by nobody, for as long as it stands. */
		if ((ph_syscall(PH_NR_fcntl, (int32_t)c->a[4], PH_F_GETFL, 0, 0, 0, 0) & PH_O_ACCMODE) == PH_O_RDWR)
			tell_descriptor(t, (int32_t)c->a[4], true);
		return;
	case NAMES:
		take_off();
		atomic_fetch_add(&t->changes, 1);
		mark_names(t, &names_of[c->nr], c);
		atomic_fetch_add(&t->begun, 1);
		return;
	case ANYTHING:
		take_off();
		atomic_fetch_add(&t->changes, 1);
		forget(t);
		return;
	case UNSEEN:
		ph_examined_end();
		return;
	case NOTHING:
		return;
	}
}

static bool is_strange(int64_t nr)
{
	return nr == NR_setfsuid || nr == NR_setfsgid || ph_keeper_ends(nr);
}

void ph_changes_before(const struct ph_call *c)
{
	enum kind kind = kind_of(c);

	ph_changes_past();
	if (is_strange(c->nr))
		stranger = true;
	if (kind != NOTHING && mine)
		tell(ph_examined_table(), kind, c);
}

bool ph_changes_begin(int64_t fd)
{
	struct ph_examined *t = ph_examined_table();
	bool took;

	if (!mine)
		return false;
	if (fd < 0)
		ph_changes_past();
	took = take_off();
	if (fd >= 0) {
		tell_descriptor(t, fd, false);
	} else {
		atomic_fetch_add(&t->changes, 1);
		atomic_fetch_add(&t->begun, 1);
	}
	return took;
}

/* A file system that the keeper looks into is busy; it stops to when it has heard of a change. */
static int64_t unmount(const struct ph_call *c)
{
	const int64_t pause[2] = { 0, 5000000 };
	int64_t r = ph_syscall(c->nr, c->a[0], c->a[1], 0, 0, 0, 0);

	for (int i = 0; mine && r == -PH_EBUSY && i < UNMOUNTS; i++) {
		ph_syscall(PH_NR_nanosleep, (int64_t)pause, 0, 0, 0, 0, 0);
		r = ph_syscall(c->nr, c->a[0], c->a[1], 0, 0, 0, 0);
	}
	return r;
}

/* --- where the process stands ----------------------------------------------------------------------------------- */

bool ph_changes_made(struct ph_call *c)
{
	if (c->nr == NR_umount2) {
		c->ret = unmount(c);
		return true;
	}
	if (c->nr != NR_chdir && c->nr != NR_fchdir)
		return false;
	atomic_fetch_add(&moves, 1);
	c->ret = ph_syscall(c->nr, c->a[0], 0, 0, 0, 0, 0);
	atomic_fetch_add(&moves, 1);
	return true;
}

uint32_t ph_changes_moves(void)
{
	return atomic_load(&moves);
}

bool ph_changes_stranger(void)
{
	return stranger;
}

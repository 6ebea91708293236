/* exec: the runtime goes along where it can work, by two variables at the end of the new environment. What the program
 * passed is read through the kernel, never by plain loads: a bad pointer must come out as the kernel's own EFAULT. */
#include "engine.h"

#include "linux.h"
#include "examined.h"
#include "owed.h"

#define PAGE 4096ull
#define SCRIPTS_MAX 5		/* as the kernel follows */
#define STACK_MAX (64 * 1024u)
#define THEIRS_MAX 4096u
#define SEGMENTS_MAX 64
#define BATCH 32

void *memcpy(void *restrict to, const void *restrict from, size_t n);

enum { FAILS = -1 };		/* the call is going to fail by itself */

static int64_t peek_some(void *to, uint64_t from, size_t n)
{
	struct ph_iovec local = { to, n }, remote = { (void *)from, n };

	return ph_syscall(NR_process_vm_readv, ph_syscall(NR_getpid, 0, 0, 0, 0, 0, 0), (int64_t)&local, 1,
			  (int64_t)&remote, 1, 0);
}

static bool peek(void *to, uint64_t from, size_t n)
{
	return peek_some(to, from, n) == (int64_t)n;
}

/* A string of at most room - 1 bytes: its length, or -EFAULT; a longer one is cut, and `room` returned. */
static int64_t peek_string(char *to, uint64_t from, size_t room)
{
	size_t have = 0;

	while (have < room) {
		size_t n = PAGE - ((from + have) & (PAGE - 1));

		if (n > room - have)
			n = room - have;
		if (!peek(to + have, from + have, n))
			return -EFAULT;
		for (size_t i = 0; i < n; i++)
			if (!to[have + i])
				return (int64_t)(have + i);
		have += n;
	}
	to[room - 1] = 0;
	return (int64_t)room;
}

void ph_uncovered(enum ph_uncovered_why why, const char *exe)
{
	struct ph_control *control = ph_engine.control;
	uint32_t seen = __atomic_load_n(&control->n_uncovered, __ATOMIC_ACQUIRE), slot;
	struct ph_uncovered *u;

	for (uint32_t i = 0; i < seen && i < PH_UNCOVERED_MAX; i++) {
		const char *a = control->uncovered[i].exe, *b = exe;
		const char *end = a + sizeof(control->uncovered[i].exe) - 1;

		while (a < end && *a && *a == *b) {
			a++;
			b++;
		}
		if (control->uncovered[i].why == why && (a == end || *a == *b))
			return;
	}
	slot = __atomic_fetch_add(&control->n_uncovered, 1, __ATOMIC_SEQ_CST);
	ph_owed_uncovered(control);
	if (slot >= PH_UNCOVERED_MAX)
		return;
	u = &control->uncovered[slot];
	u->pid = (int32_t)ph_syscall(NR_getpid, 0, 0, 0, 0, 0, 0);
	for (size_t i = 0; i < sizeof(u->exe) - 1 && exe[i]; i++)
		u->exe[i] = exe[i];
	u->why = why;
}

static int64_t open_regular(int64_t dir, uint64_t path, uint64_t flags)
{
	struct ph_stat st;

	if (ph_syscall(NR_newfstatat, dir, (int64_t)path, (int64_t)&st, (int64_t)flags, 0, 0) < 0)
		return -ENOENT;
	if ((st.st_mode & S_IFMT) != S_IFREG)
		return -EACCES;
	if (st.st_mode & S_ISUID)
		return -EPERM;
	return ph_syscall(NR_openat, dir, (int64_t)path,
			  O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY |
				  ((flags & AT_SYMLINK_NOFOLLOW) ? O_NOFOLLOW : 0), 0, 0, 0);
}

static int dynamic_linker(int64_t fd, const uint8_t *header, int64_t n)
{
	struct {
		uint32_t type, flags;
		uint64_t offset, vaddr, paddr, filesz, memsz, align;
	} segment;
	uint64_t at;
	uint16_t count, size, machine;
	char name[256];

	if (n < 64)
		return FAILS;
	memcpy(&machine, header + 18, 2);
	if (header[4] != 2 || machine != 62)
		return PH_UNCOVERED_FOREIGN;
	memcpy(&at, header + 32, 8);
	memcpy(&size, header + 54, 2);
	memcpy(&count, header + 56, 2);
	if (size != sizeof(segment))
		return FAILS;
	for (unsigned i = 0; i < count && i < SEGMENTS_MAX; i++) {
		int64_t bytes;

		if (ph_syscall(NR_pread64, fd, (int64_t)&segment, sizeof(segment), (int64_t)(at + i * sizeof(segment)), 0,
			       0) != sizeof(segment))
			return FAILS;
		if (segment.type != 3)	/* PT_INTERP */
			continue;
		bytes = ph_syscall(NR_pread64, fd, (int64_t)name, sizeof(name) - 1, (int64_t)segment.offset, 0, 0);
		if (bytes <= 0)
			return FAILS;
		name[bytes] = 0;
		return ph_after_prefix(ph_basename(name), "ld-linux-x86-64.so.") ? PH_UNCOVERED_NONE
										  : PH_UNCOVERED_FOREIGN;
	}
	return PH_UNCOVERED_STATIC;
}

static bool has_capabilities(int64_t fd)
{
	return ph_syscall(NR_fgetxattr, fd, (int64_t) "security.capability", 0, 0, 0, 0) > 0;
}

/* Where the interpreter of a script ("#! /bin/sh -e") is named in its first bytes; NULL when it names none. */
static char *interpreter(char *line, int64_t n)
{
	char *at = line + 2, *end = line + n;

	*end = 0;
	while (at < end && (*at == ' ' || *at == '\t'))
		at++;
	for (char *p = at; p < end; p++)
		if (*p == ' ' || *p == '\t' || *p == '\n' || *p == 0) {
			*p = 0;
			return p > at ? at : NULL;
		}
	return NULL;
}

/* Whether the runtime can work in what this exec would start: 0, enum ph_uncovered_why, or FAILS. *direct: the file
 * itself is that program, not a script. */
static int examine(int64_t dir, uint64_t path, uint64_t flags, bool *direct)
{
	char head[256 + 1];

	for (int depth = 0; depth <= SCRIPTS_MAX; depth++) {
		int64_t fd = open_regular(dir, path, flags), n;
		struct ph_stat st;
		bool special;
		int why;

		*direct = depth == 0;
		if (fd == -EPERM)
			return PH_UNCOVERED_SECURE;
		if (fd == -ENOENT)
			return FAILS;
		if (fd < 0)
			return PH_UNCOVERED_FOREIGN;	/* it can't be looked into */
		n = ph_syscall(NR_pread64, fd, (int64_t)head, sizeof(head) - 1, 0, 0, 0);
		special = ph_syscall(NR_fstat, fd, (int64_t)&st, 0, 0, 0, 0) < 0 ||
			  (st.st_mode & S_ISUID) || (st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) ||
			  has_capabilities(fd);
		if (n > 2 && head[0] == '#' && head[1] == '!') {
			ph_syscall(NR_close, fd, 0, 0, 0, 0, 0);
			path = (uint64_t)interpreter(head, n);
			if (!path)
				return FAILS;
			/* head is written again only after the kernel has read the path from it. */
			dir = AT_FDCWD;
			flags = 0;
			continue;
		}
		why = FAILS;
		if (n >= 4 && head[0] == 0x7f && head[1] == 'E' && head[2] == 'L' && head[3] == 'F')
			why = special ? PH_UNCOVERED_SECURE : dynamic_linker(fd, (uint8_t *)head, n);
		ph_syscall(NR_close, fd, 0, 0, 0, 0, 0);
		return why;
	}
	return FAILS;
}

struct environment {
	uint64_t at;		/* the program's array */
	uint64_t n;
	uint64_t preload;	/* the last LD_PRELOAD= among them, or 0 */
	bool listing;		/* ld.so is asked to list what it would load (ldd) */
};

static void look_at(struct environment *env, uint64_t string, const char first[8])
{
	char whole[32];

	if (!ph_after_prefix(first, "LD_PRELO") && !ph_after_prefix(first, "LD_TRACE"))
		return;
	if (peek_string(whole, string, sizeof(whole)) < 0)
		return;
	if (ph_after_prefix(whole, "LD_PRELOAD="))
		env->preload = string;
	if (ph_after_prefix(whole, "LD_TRACE_LOADED_OBJECTS="))
		env->listing = true;
}

/* The beginnings of up to BATCH strings at once; one that ends right before an unmapped page is read by itself. */
static bool look_at_strings(struct environment *env, const uint64_t *strings, unsigned n)
{
	int64_t pid = ph_syscall(NR_getpid, 0, 0, 0, 0, 0, 0);

	for (unsigned done = 0; done < n;) {
		char first[BATCH][8];
		struct ph_iovec local = { first, sizeof(first) }, remote[BATCH];
		unsigned count = n - done;
		int64_t got;

		for (unsigned i = 0; i < count; i++)
			remote[i] = (struct ph_iovec){ (void *)strings[done + i], 8 };
		got = ph_syscall(NR_process_vm_readv, pid, (int64_t)&local, 1, (int64_t)remote, count, 0);
		if (got > 0)
			got /= 8;
		else
			got = 0;
		for (unsigned i = 0; i < (unsigned)got; i++)
			look_at(env, strings[done + i], first[i]);
		done += (unsigned)got;
		if (done < n) {
			if (peek_string(first[0], strings[done], 8) < 0)
				return false;
			look_at(env, strings[done], first[0]);
			done++;
		}
	}
	return true;
}

/* Counts the strings; false when the kernel would fault on them, or they are too many. */
static bool survey(struct environment *env)
{
	uint64_t batch[BATCH];

	env->n = 0;
	env->preload = 0;
	env->listing = false;
	if (!env->at)
		return true;	/* Linux takes NULL for an empty environment */
	for (;;) {
		uint64_t from = env->at + env->n * 8;
		uint64_t room = (PAGE - (from & (PAGE - 1))) / 8;
		unsigned want = room == 0 ? 1 : room < BATCH ? (unsigned)room : BATCH, n;

		if (!peek(batch, from, want * 8))
			return false;
		for (n = 0; n < want && batch[n]; n++)
			;
		if (!look_at_strings(env, batch, n))
			return false;
		env->n += n;
		if (n < want)
			return true;
		if (env->n * 8 > STACK_MAX)
			return false;
	}
}

/* Whether `bytes` below us can be used as stack: the kernel itself is asked to write into each page. */
static bool stack_has(size_t bytes)
{
	uint64_t sp = (uint64_t)__builtin_frame_address(0) - 1024;

	for (uint64_t down = 0; down <= bytes + PAGE; down += PAGE)
		if (ph_syscall(NR_rt_sigprocmask, SIG_BLOCK, 0, (int64_t)((sp - down) & ~7ull), 8, 0, 0) < 0)
			return false;
	return true;
}

static int64_t exec_plain(const struct ph_frame *f)
{
	return ph_syscall((int32_t)f->rax, f->a[0], f->a[1], f->a[2], f->a[3], f->a[4], f->a[5]);
}

static char *append(char *to, const char *s)
{
	size_t n = ph_strlen(s);

	memcpy(to, s, n + 1);
	return to + n;
}

__attribute__((noinline)) static int64_t exec_with(const struct ph_frame *f, const struct environment *env,
						   size_t string_bytes, const char *own)
{
	uint64_t strings[env->n + 3];
	char preload[string_bytes], control[string_bytes];
	int env_arg = (int32_t)f->rax == NR_execveat ? 3 : 2;
	struct ph_frame with = *f;
	int64_t r;
	char *end;

	if (env->n && !peek(strings, env->at, env->n * 8))
		return exec_plain(f);
	end = append(append(preload, "LD_PRELOAD="), ph_engine.library_path);
	if (env->preload) {
		char *at = append(end, ":");

		/* Behind "LD_PRELOAD=", which is 11 bytes. */
		r = peek_string(at, env->preload + 11, (size_t)(preload + string_bytes - at));
		if (r < 0 || at + r >= preload + string_bytes)
			return exec_plain(f);
		if (r == 0)
			*end = 0;
	}
	end = append(append(control, "PEEPHOLE_CONTROL="), ph_engine.control_path);
	if (*own)
		append(append(end, ":"), own);
	strings[env->n] = (uint64_t)preload;
	strings[env->n + 1] = (uint64_t)control;
	strings[env->n + 2] = 0;
	with.a[env_arg] = (int64_t)strings;
	r = exec_plain(&with);
	return r == -E2BIG ? exec_plain(f) : r;
}

/* The program's file by a name that means the same in the helper, which /proc/self/exe does not: `room` takes a resolved one.
 * 0 when there is none. */
static uint64_t name_for_helper(uint64_t path, char *room, size_t bytes)
{
	int64_t n;

	if (peek_string(room, path, bytes) < 0)
		return 0;
	if (!ph_after_prefix(room, "/proc/"))
		return path;
	n = ph_syscall(NR_readlinkat, AT_FDCWD, (int64_t)path, (int64_t)room, (int64_t)bytes - 1, 0, 0);
	room[n > 0 ? n : 0] = 0;
	return room[0] == '/' ? (uint64_t)room : 0;
}

/* A static program, by way of a helper that puts the runtime in before its first instruction (core/attach/exec.c):
 * peephole-attach exec FOLDER PROGRAM ARGV... The program has to be one that the kernel would execute, since an error
 * can't come back from there. -ENOENT: not done. */
__attribute__((noinline)) static int64_t exec_by_helper(const struct ph_frame *f)
{
	struct environment arguments = { .at = (uint64_t)f->a[1] };
	size_t folder = (size_t)(ph_basename(ph_engine.control_path) - ph_engine.control_path) - 1;
	char helper[folder + 32], where[folder + 1], room[256];
	uint64_t name = name_for_helper((uint64_t)f->a[0], room, sizeof(room));
	struct ph_frame with = *f;

	memcpy(where, ph_engine.control_path, folder);
	where[folder] = 0;
	append(append(helper, where), "/peephole-attach");
	if ((int32_t)f->rax != NR_execve || !name || !survey(&arguments) || !arguments.n || (arguments.n + 5) * 8 > STACK_MAX ||
	    !stack_has((arguments.n + 5) * 8) ||
	    ph_syscall(NR_faccessat, AT_FDCWD, f->a[0], X_OK, 0, 0, 0) < 0 ||
	    ph_syscall(NR_faccessat, AT_FDCWD, (int64_t)helper, X_OK, 0, 0, 0) < 0)
		return -ENOENT;
	uint64_t strings[arguments.n + 5];

	strings[0] = (uint64_t)helper;
	strings[1] = (uint64_t) "exec";
	strings[2] = (uint64_t)where;
	strings[3] = name;
	if (!peek(strings + 4, arguments.at, arguments.n * 8))
		return -ENOENT;
	strings[arguments.n + 4] = 0;
	with.a[0] = (int64_t)helper;
	with.a[1] = (int64_t)strings;
	exec_plain(&with);
	return -ENOENT;
}

/* faccessat too: it asks as the new program will, without capabilities that a change of user left and exec takes. */
static bool reachable(const char *path, const struct ph_identity_of_file *id)
{
	struct ph_stat st;

	return ph_syscall(NR_newfstatat, AT_FDCWD, (int64_t)path, (int64_t)&st, 0, 0, 0) == 0 && st.st_dev == id->dev &&
	       st.st_ino == id->ino && ph_syscall(NR_faccessat, AT_FDCWD, (int64_t)path, R_OK, 0, 0, 0) == 0;
}

static void record(const struct ph_frame *f, int why)
{
	char name[sizeof(ph_engine.control->uncovered[0].exe)];
	int64_t path = (int32_t)f->rax == NR_execveat ? f->a[1] : f->a[0];

	if (peek_string(name, (uint64_t)path, sizeof(name)) >= 0)
		ph_uncovered((enum ph_uncovered_why)why, name);
}

int64_t ph_exec(const struct ph_frame *f, const char *own)
{
	bool at = (int32_t)f->rax == NR_execveat;
	struct environment env = { .at = (uint64_t)(at ? f->a[3] : f->a[2]) };
	int64_t dir = at ? (int32_t)f->a[0] : AT_FDCWD, r;
	uint64_t path = (uint64_t)(at ? f->a[1] : f->a[0]), flags = at ? (uint64_t)f->a[4] : 0;
	char itself[PH_FD_PATH];
	bool direct = false;
	size_t bytes;
	int why;

	if (at && (flags & AT_EMPTY_PATH)) {
		char first;

		if (!peek(&first, path, 1))
			return exec_plain(f);
		if (!first) {
			/* The file itself: opened again, so that reading moves no position of the program's. */
			if (dir < 0)
				return exec_plain(f);
			ph_fd_path(itself, dir);
			path = (uint64_t)itself;
			dir = AT_FDCWD;
		}
		flags &= ~(uint64_t)AT_EMPTY_PATH;
	}
	why = examine(dir, path, flags & AT_SYMLINK_NOFOLLOW, &direct);
	if (why == PH_UNCOVERED_NONE && (!reachable(ph_engine.library_path, &ph_engine.library_id) ||
					 !reachable(ph_engine.control_path, &ph_engine.control_id)))
		why = PH_UNCOVERED_LIBRARY;
	ph_faults_before_exec();
	if (why == PH_UNCOVERED_STATIC) {
		ph_owed_blind(1);	/* it makes calls before anything can be put into it */
		ph_examined_end();
	}
	if (why == PH_UNCOVERED_NONE && survey(&env) && !env.listing) {
		bytes = ph_strlen(ph_engine.library_path) + ph_strlen(ph_engine.control_path) + 64 +
			(env.preload ? THEIRS_MAX : 0);
		if ((env.n + 3) * 8 + 2 * bytes <= STACK_MAX && stack_has((env.n + 3) * 8 + 2 * bytes)) {
			r = exec_with(f, &env, bytes, own);
		} else {
			record(f, PH_UNCOVERED_LIBRARY);
			r = exec_plain(f);
		}
	} else {
		if (why == PH_UNCOVERED_STATIC && direct)
			exec_by_helper(f);
		if (why > 0)
			record(f, why);
		r = exec_plain(f);
	}
	ph_faults_after_exec();
	return r;
}

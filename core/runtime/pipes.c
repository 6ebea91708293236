/* Mechanisms on pipes: see rule.h; and how a pipe comes to rules.
 *
 * That nobody else has a pipe's read end can't be asked of the kernel. It is looked for in /proc, in every process, twice:
 * a process that hands the end on to a child and ends while we look would have to do so again the second time. From
 * then on only this process could hand it on: by fork, exec or SCM_RIGHTS, which all end the description's state.
 * Processes of other users that may not be looked into are taken not to have it, unless they are of our session. */
#include "pipes.h"

#include "engine.h"
#include "layers.h"
#include "numbers.h"
#include "opens.h"
#include "run.h"

#define MANY 4096		/* reads in a row, before processes are looked through: what that takes is as much */
#define IN_VAIN 8		/* peeks in a row that found nothing; then */
#define SKIP 16			/* only one in so many is tried */
#define NAME_MAX 32		/* "pipe:[...]" */

enum { FIONREAD = 0x541b, SPLICE_F_NONBLOCK = 2, O_DIRECT = 040000, READABLE = 0400 };

bool ph_pipes_used;
uint32_t ph_pipe_row;

/* --- who else has it -------------------------------------------------------------------------------------- */

struct entry {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

static bool is_number(const char *name)
{
	return name[0] >= '0' && name[0] <= '9';
}

static int64_t number(const char *name)
{
	int64_t n = 0;

	while (*name >= '0' && *name <= '9')
		n = n * 10 + (*name++ - '0');
	return n;
}

static bool same(const char *a, const char *b, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		if (a[i] != b[i])
			return false;
	return b[n] == 0;
}

/* Of a process that may not be looked into: it may have inherited what we have. */
static bool is_near(const char *process)
{
	return ph_syscall(PH_NR_getsid, number(process), 0, 0, 0, 0, 0) == ph_syscall(PH_NR_getsid, 0, 0, 0, 0, 0, 0);
}

/* Whether one of the descriptors that a process's folder lists is this pipe's read end; true in doubt. */
static bool has_end(int64_t folder, const char *process, const char *pipe)
{
	uint64_t space[64];
	char link[NAME_MAX];
	struct ph_identity id;
	int64_t n, length;

	while ((n = ph_syscall(PH_NR_getdents64, folder, (int64_t)space, sizeof(space), 0, 0, 0)) > 0) {
		for (int64_t at = 0; at < n; at += ((struct entry *)((uint8_t *)space + at))->reclen) {
			const char *name = ((struct entry *)((uint8_t *)space + at))->name;

			if (!is_number(name))
				continue;
			length = ph_syscall(PH_NR_readlinkat, folder, (int64_t)name, (int64_t)link, sizeof(link) - 1, 0, 0);
			if (length < 0 && length != -PH_ENOENT && is_near(process))
				return true;
			/* The link's own mode says how the descriptor was opened: proc(5). */
			if (length > 0 && same(link, pipe, length) &&
			    (ph_identify_name(folder, (int64_t)name, &id) < 0 || (id.mode & READABLE)))
				return true;
		}
	}
	return n < 0 && n != -PH_ENOENT;	/* it has just ended */
}

/* One process: /proc/NAME/fd. */
static bool process_has_end(int64_t proc, const char *name, const char *pipe)
{
	char path[32];
	int64_t folder;
	unsigned n = 0;
	bool found;

	while (name[n] && n < sizeof(path) - 4) {
		path[n] = name[n];
		n++;
	}
	path[n] = '/', path[n + 1] = 'f', path[n + 2] = 'd', path[n + 3] = 0;
	folder = ph_syscall(PH_NR_openat, proc, (int64_t)path, PH_O_RDONLY | PH_O_DIRECTORY | PH_O_CLOEXEC, 0, 0, 0);
	if (folder == -PH_ENOENT || folder == -PH_ESRCH)
		return false;
	if (folder < 0)
		return is_near(name);
	found = has_end(folder, name, pipe);
	ph_syscall(PH_NR_close, folder, 0, 0, 0, 0, 0);
	return found;
}

static bool others_have_end(const char *pipe)
{
	int64_t self = ph_syscall(PH_NR_getpid, 0, 0, 0, 0, 0, 0), n;
	int64_t proc = ph_syscall(PH_NR_openat, PH_AT_FDCWD, (int64_t)"/proc", PH_O_RDONLY | PH_O_DIRECTORY | PH_O_CLOEXEC,
				  0, 0, 0);
	uint64_t space[64];
	bool found = false;

	if (proc < 0)
		return true;
	while (!found && (n = ph_syscall(PH_NR_getdents64, proc, (int64_t)space, sizeof(space), 0, 0, 0)) != 0) {
		found = n < 0;
		for (int64_t at = 0; at < n && !found; at += ((struct entry *)((uint8_t *)space + at))->reclen) {
			const char *name = ((struct entry *)((uint8_t *)space + at))->name;

			found = is_number(name) && number(name) != self && process_has_end(proc, name, pipe);
		}
	}
	ph_syscall(PH_NR_close, proc, 0, 0, 0, 0, 0);
	return found;
}

/* An end of a pipe that has no name, open for reading only, in a process of one thread: written to `pipe` as /proc says it. */
static bool is_read_end(int64_t fd, char pipe[NAME_MAX])
{
	char path[PH_FD_PATH];
	struct ph_identity id;
	int64_t flags, n;

	if (ph_hold_threaded() || ph_identify(fd, &id) < 0 || (id.mode & PH_S_IFMT) != PH_S_IFIFO)
		return false;
	flags = ph_syscall(PH_NR_fcntl, fd, PH_F_GETFL, 0, 0, 0, 0);
	if (flags < 0 || (flags & (PH_O_ACCMODE | O_DIRECT)) != PH_O_RDONLY)
		return false;
	ph_fd_path(path, fd);
	n = ph_syscall(PH_NR_readlink, (int64_t)path, (int64_t)pipe, NAME_MAX - 1, 0, 0, 0);
	if (n <= 0)
		return false;
	pipe[n] = 0;
	return pipe[0] == 'p' && pipe[4] == ':';
}

void ph_pipe_read(int64_t fd, int64_t n)
{
	static int64_t last = -1;
	static uint32_t wanted = MANY;
	char pipe[NAME_MAX];
	struct ph_walk walk;
	bool alone;

	if (fd != last || n <= 0 || n >= PH_PIPE_SMALL) {
		last = fd;
		ph_pipe_row = 0;
		wanted = MANY;
		return;
	}
	if (++ph_pipe_row < wanted || fd < 0 || fd >= PH_FDS)
		return;
	ph_pipe_row = 0;
	wanted = wanted < (1u << 24) ? wanted * 4 : wanted;	/* what was so once is often so again */
	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);		/* no handler of the program's sees the descriptors that this takes */
	alone = is_read_end(fd, pipe) && !others_have_end(pipe) && !others_have_end(pipe);
	ph_walk_end(&walk);
	if (alone)
		ph_adopt_pipe(fd);
}

/* --- mechanisms --------------------------------------------------------------------------------------------- */

/* Copies what the private pipe holds; false where that are packets (pipe2(2), O_DIRECT): a read ends at a packet's end, and
 * one that takes less than a packet loses the rest. */
static bool drain(int64_t from, uint8_t *buffer, int64_t n)
{
	return ph_syscall(PH_NR_read, from, (int64_t)buffer, 1, 0, 0, 0) == 1 &&
	       (n == 1 || ph_syscall(PH_NR_read, from, (int64_t)(buffer + 1), n - 1, 0, 0, 0) == n - 1);
}

int64_t ph_k_peek(struct ph_k *k, int64_t fd, struct ph_state *f)
{
	static uint32_t in_vain, skipped;
	uint8_t *buffer = ph_buffer_of(ph_description_of(fd), k->layer);
	int32_t ends[2];
	int64_t n;

	if (k->walk->trial) {
		k->walk->aborted = true;
		return 0;
	}
	f->len = 0;
	/* Another thread would see the two numbers. Where the writer is slow, nothing is there most times. */
	if (!buffer || ph_hold_threaded() || (in_vain >= IN_VAIN && skipped++ % SKIP))
		return 0;
	ph_walk_hold(k->walk);
	if (ph_syscall(PH_NR_pipe2, (int64_t)ends, PH_O_CLOEXEC | PH_O_NONBLOCK, 0, 0, 0, 0) < 0)
		return 0;
	n = ph_syscall(PH_NR_tee, fd, ends[1], PH_BUFFER_MAX, SPLICE_F_NONBLOCK, 0, 0);
	if (n > 0 && drain(ends[0], buffer, n))
		f->len = n;
	ph_syscall(PH_NR_close, ends[0], 0, 0, 0, 0, 0);
	ph_syscall(PH_NR_close, ends[1], 0, 0, 0, 0, 0);
	in_vain = f->len > 1 ? 0 : in_vain + 1;
	return f->len;
}

int64_t ph_k_consume(struct ph_k *k, int64_t fd, int64_t n)
{
	uint8_t *buffer = ph_buffer_of(ph_description_of(fd), k->layer);	/* empty by now */
	int32_t there = 0;

	if (k->walk->trial) {
		k->walk->aborted = true;
		return 0;
	}
	while (n > 0) {
		int64_t r = ph_syscall(PH_NR_ioctl, fd, FIONREAD, (int64_t)&there, 0, 0, 0);

		r = r < 0 || there <= 0 || !buffer ? 0 : ph_syscall(PH_NR_read, fd, (int64_t)buffer, n < there ? n : there, 0, 0, 0);
		if (r == -PH_EINTR)
			continue;
		if (r <= 0) {	/* somebody else reads it after all: no more of this */
			ph_count_why(k->layer, PH_WHY_WRONG);
			ph_layer_off(k->layer, PH_WHY_WRONG);
			return 0;
		}
		n -= r;
	}
	return 0;
}

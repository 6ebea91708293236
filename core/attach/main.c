/* peephole-attach: puts the runtime into a running process, and takes it out again, by ptrace.
 *
 *   peephole-attach attach PID LIBRARY CONTROL LISTS [DEV:INO...]     the files that the program has mapped
 *   peephole-attach detach PID
 *
 * Prints one JSON object; failures are one line on standard error and exit code 1 (130, 143 when interrupted).
 * The order: no thread stands still while the plan is made; one thread is lent for the mapping and for the runtime's own
 * beginning; all stand still while bytes are written. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "load.h"
#include "patches.h"
#include "target.h"
#include "threads.h"

#define TRIES 400

struct job {
	struct target target;
	struct loaded loaded;
	struct ph_live *live;
	struct span *spans;
	size_t n_spans;
	uint64_t lent_us, still_us;
	int tries;
};

static uint64_t live_at(const struct job *job)
{
	return job->loaded.anchor.live + 64 * 1024;
}

/* ctrl-C waits until nothing is half done. */
static void hold_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static int interrupted(void)
{
	sigset_t set;

	sigpending(&set);
	return sigismember(&set, SIGINT) ? 130 : sigismember(&set, SIGTERM) || sigismember(&set, SIGHUP) ? 143 : 0;
}

static void hurry(void)
{
	struct sched_param param = { .sched_priority = 1 };

	sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &param);	/* refused without root: then it takes a little longer */
}

static bool still_the_same_program(const struct job *job)
{
	struct target now = { .pid = job->target.pid };
	struct ph_anchor anchor = { 0 };
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", now.pid);
	now.mem = open(path, O_RDONLY | O_CLOEXEC);
	if (now.mem >= 0) {
		target_read(&now, job->loaded.anchor_at, &anchor, sizeof(anchor));
		close(now.mem);
	}
	return anchor.magic == PH_LIVE_MAGIC;
}

/* The runtime's function `function` in some thread that is not inside the runtime; the others run on. */
static int lend(struct job *job, uint64_t function, int64_t *result)
{
	const struct ph_anchor *a = &job->loaded.anchor;
	uint64_t begin = now_us();
	struct thread *th = thread_borrow(&job->target, a->code, a->code_end);
	int r;

	if (!th)
		return -1;
	if (!still_the_same_program(job))
		r = fail("pid %d became another program meanwhile", job->target.pid);
	else
		r = thread_call(&job->target, th, a->call, function, live_at(job), load_stack(&job->loaded), result);
	threads_release(&job->target);
	job->lent_us += now_us() - begin;
	return r;
}

static int read_live(struct job *job)
{
	if (target_read(&job->target, live_at(job), job->live, sizeof(*job->live)) < 0 ||
	    job->live->n_patches > PH_LIVE_PATCHES)
		return fail("pid %d: what the runtime left there can't be read", job->target.pid);
	return 0;
}

static bool someone_inside(const struct job *job)
{
	for (size_t i = 0; i < job->target.n_threads; i++) {
		const struct thread *th = &job->target.threads[i];

		/* One that waits in the kernel is there by a call of the program's or of the runtime: nobody can tell. */
		if (!th->gone && (th->in_kernel || (th->regs.rip >= job->loaded.anchor.code &&
						    th->regs.rip < job->loaded.anchor.code_end)))
			return true;
	}
	return false;
}

static struct thread *any_to_borrow(struct job *job)
{
	for (size_t i = 0; i < job->target.n_threads; i++)
		if (thread_can_be_borrowed(&job->target.threads[i], &job->target, job->loaded.anchor.code,
					   job->loaded.anchor.code_end))
			return &job->target.threads[i];
	return NULL;
}

/* All stand still; `function` runs in one of them, then the bytes are written. 1: to be tried again. */
static int change(struct job *job, uint64_t function, bool out)
{
	struct thread *th;
	int64_t result;

	if (!still_the_same_program(job))
		return fail("pid %d became another program meanwhile", job->target.pid);
	if (out ? someone_inside(job) : patches_awaited(&job->target, job->live))
		return 1;
	th = any_to_borrow(job);
	if (!th)
		return 1;
	if (thread_call(&job->target, th, job->loaded.anchor.call, function, live_at(job), load_stack(&job->loaded), &result) < 0)
		return -1;
	if (result < 0)
		return fail("pid %d: the runtime refuses: %s", job->target.pid, strerror((int)-result));
	if (spans_write(&job->target, job->spans, job->n_spans) < 0)
		return -1;
	patches_move(&job->target, job->live, out);
	return 0;
}

static int stop_and_change(struct job *job, uint64_t function, bool out)
{
	int r = 1, stop;

	if (spans_make(&job->target, job->live, &job->spans, &job->n_spans) < 0)
		return -1;
	for (job->tries = 0; r == 1 && job->tries < TRIES; job->tries++) {
		uint64_t begin;

		stop = interrupted();
		if (stop)
			return stop;
		if (job->tries)
			usleep(2000);
		begin = now_us();
		r = threads_stop(&job->target);
		if (r == 0)
			r = change(job, function, out);
		threads_release(&job->target);
		job->still_us = now_us() - begin;
	}
	return r == 1 ? fail("pid %d has a thread that can't be stopped in the right place (it starts processes all the time, or waits for a disk); try again",
			     job->target.pid) : r;
}

static unsigned count_threads(const struct target *t)
{
	unsigned n = 0;

	for (size_t i = 0; i < t->n_threads; i++)
		n += !t->threads[i].gone;
	return n;
}

/* --- attach ---------------------------------------------------------------------------------------------------- */

static int find_syscall(struct target *t)
{
	for (size_t i = 0; i < t->n_maps; i++) {
		const struct mapping *m = &t->maps[i];
		uint8_t code[16384];
		size_t n = m->end - m->start < sizeof(code) ? m->end - m->start : sizeof(code);

		if (strcmp(m->path, "[vdso]") != 0 || target_read(t, m->start, code, n) < 0)
			continue;
		for (size_t at = 0; at + 1 < n; at++)
			if (code[at] == 0x0f && code[at + 1] == 0x05) {
				t->syscall_insn = m->start + at;
				return 0;
			}
	}
	return fail("pid %d: no system-call instruction in its vdso", t->pid);
}

static bool is_system_library(const char *name)
{
	return strncmp(name, "libc.so.", 8) == 0 || strncmp(name, "ld-linux", 8) == 0 ||
	       strncmp(name, "libpthread.so.", 14) == 0 || strncmp(name, "librt.so.", 9) == 0;
}

/* The libraries that make system calls for the program, and what else makes its own. */
static int find_objects(struct job *job)
{
	struct target *t = &job->target;
	bool libc = false;

	for (size_t i = 0; i < t->n_maps; i++) {
		const struct mapping *m = &t->maps[i];
		const char *name = mapping_name(m);

		if (m->offset || !m->path[0])
			continue;
		job->live->own_calls |= strncmp(name, "liburing.so", 11) == 0 || strncmp(name, "libgo.so", 8) == 0;
		if (!is_system_library(name))
			continue;
		if (job->live->n_objects == PH_LIVE_OBJECTS)
			return fail("pid %d maps more than %d system libraries", t->pid, PH_LIVE_OBJECTS);
		job->live->objects[job->live->n_objects++] = m->start;
		libc = libc || strncmp(name, "libc.so.", 8) == 0;
	}
	return libc ? 0 : fail("pid %d has no glibc (a static program, or another libc); only programs with glibc can be attached to", t->pid);
}

static int read_file(const char *path, uint8_t **bytes, size_t *n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	ssize_t got = -1;

	if (fd >= 0 && fstat(fd, &st) == 0 && (*bytes = malloc((size_t)st.st_size + 1)))
		got = read(fd, *bytes, *n = (size_t)st.st_size);
	if (fd >= 0)
		close(fd);
	return got == (ssize_t)*n ? 0 : fail("%s: can't be read", path);
}

static void name_program(pid_t pid, char *to, size_t room)
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	n = readlink(path, to, room - 1);
	to[n > 0 ? n : 0] = 0;
}

static void print_missing(const struct job *job, char *to, size_t room)
{
	size_t n = 0;

	to[0] = 0;
	for (unsigned i = 0; i < job->live->missing && i < 8 && n < room; i++)
		n += (size_t)snprintf(to + n, room - n, " %d", job->live->missing_nr[i]);
}

static int begin(struct job *job)
{
	char numbers[128];
	int64_t result;
	int r = lend(job, job->loaded.anchor.begin, &result);

	if (r < 0)
		return r;
	if (result == -EBUSY)
		return fail("pid %d is improved already; peephole detach %d takes that out", job->target.pid, job->target.pid);
	if (result == -ENOENT)
		return fail("pid %d can't open %s as its own private file", job->target.pid, job->live->control_path);
	if (result == -ENOEXEC)
		return fail("pid %d: no list of call sites fits its libc", job->target.pid);
	if (result < 0)
		return fail("pid %d: the runtime refuses: %s", job->target.pid, strerror((int)-result));
	if (read_live(job) < 0)
		return -1;
	if (job->live->missing) {
		print_missing(job, numbers, sizeof(numbers));
		return fail("pid %d: %u call sites can't be patched while it runs, no jump from there reaches free room (calls%s)",
			    job->target.pid, job->live->missing, numbers);
	}
	return 0;
}

static void print_result(const struct job *job, const char *what)
{
	const struct ph_live *live = job->live;

	printf("{\"what\": \"%s\", \"pid\": %d, \"threads\": %u, \"still_ms\": %.3f, \"lent_ms\": %.3f, \"tries\": %d, "
	       "\"patches\": %u, \"tiers\": {\"T1\": %u, \"T1r\": %u, \"T2\": %u, \"T3\": %u}, \"missing\": %u, \"rules\": %s}\n",
	       what, job->target.pid, count_threads(&job->target), (double)job->still_us / 1e3, (double)job->lent_us / 1e3,
	       job->tries, live->n_patches, live->by_tier[1], live->by_tier[2], live->by_tier[4], live->by_tier[5], live->missing,
	       live->own_calls ? "false" : "true");
}

static int attach(struct job *job, char **argv)
{
	struct target *t = &job->target;
	uint8_t *lists = NULL;
	size_t lists_bytes = 0;
	uint64_t hwcap2 = 0;
	int64_t ignored;
	int found, r;

	if (find_objects(job) < 0 || find_syscall(t) < 0 || read_file(argv[2], &lists, &lists_bytes) < 0)
		return 1;
	target_auxv(t->pid, 26, &hwcap2);
	job->live->hwcap2 = (uint32_t)hwcap2;
	snprintf(job->live->control_path, sizeof(job->live->control_path), "%s", argv[1]);
	name_program(t->pid, job->live->exe, sizeof(job->live->exe));
	for (char **word = argv + 3; *word && job->live->n_mapped < PH_LIVE_MAPPED; word++) {
		struct ph_live_file *f = &job->live->mapped[job->live->n_mapped++];

		sscanf(*word, "%lu:%lu", &f->dev, &f->ino);
	}
	found = load_find(t, &job->loaded);
	if (found < 0)
		return 1;
	if (found && job->loaded.anchor.state == PH_LIVE_IN)
		return fail("pid %d is improved already; peephole detach %d takes that out", t->pid, t->pid), 1;
	r = found ? load_room(t, &job->loaded, lists_bytes, &job->lent_us) :
		    load_map(t, argv[0], job->live->objects[0], lists_bytes, &job->lent_us, &job->loaded);
	if (r < 0 || interrupted())
		return r < 0 ? 1 : interrupted();
	job->live->lists = load_lists(&job->loaded);
	job->live->lists_bytes = lists_bytes;
	if (target_write(t, job->live->lists, lists, lists_bytes) < 0 ||
	    target_write(t, live_at(job), job->live, sizeof(*job->live)) < 0)
		return fail("pid %d: its memory can't be written: %s", t->pid, strerror(errno)), 1;
	r = begin(job);
	if (r == 0)
		r = stop_and_change(job, job->loaded.anchor.commit, false);
	if (r)
		lend(job, job->loaded.anchor.abandon, &ignored);
	else
		print_result(job, "attach");
	return r < 0 ? 1 : r;
}

/* --- detach ---------------------------------------------------------------------------------------------------- */

static int detach(struct job *job)
{
	int64_t result;
	int r;

	if (find_syscall(&job->target) < 0)
		return 1;
	r = load_find(&job->target, &job->loaded);
	if (r < 0)
		return 1;
	if (r == 0 || job->loaded.anchor.state != PH_LIVE_IN)
		return fail("pid %d is not improved", job->target.pid), 1;
	if (load_room(&job->target, &job->loaded, 0, &job->lent_us) < 0)
		return 1;
	r = lend(job, job->loaded.anchor.disarm, &result);
	if (r == 0 && result < 0)
		r = fail("pid %d: the runtime refuses: %s", job->target.pid, strerror((int)-result));
	if (r == 0)
		r = read_live(job);
	if (r == 0)
		r = stop_and_change(job, job->loaded.anchor.end, true);
	if (r == 0)
		print_result(job, "detach");
	return r < 0 ? 1 : r;
}

int main(int argc, char **argv)
{
	struct job job = { 0 };
	int code = 1;

	if (argc < 3 || (strcmp(argv[1], "attach") == 0 ? argc < 6 : strcmp(argv[1], "detach") != 0 || argc != 3)) {
		fprintf(stderr, "usage: peephole-attach attach PID LIBRARY CONTROL LISTS [DEV:INO...] | detach PID\n");
		return 2;
	}
	hold_signals();
	job.live = calloc(1, sizeof(*job.live));
	if (job.live && target_open(atoi(argv[2]), &job.target) == 0) {
		hurry();
		code = argv[1][0] == 'a' ? attach(&job, argv + 3) : detach(&job);
	}
	target_close(&job.target);
	return code;
}

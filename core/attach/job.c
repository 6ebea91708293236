#define _GNU_SOURCE
#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "patches.h"
#include "threads.h"

#define TRIES 400

static uint64_t live_at(const struct job *job)
{
	return job->loaded.anchor.live + 64 * 1024;
}

static int interrupted(void)
{
	sigset_t set;

	sigpending(&set);
	return sigismember(&set, SIGINT) ? 130 : sigismember(&set, SIGTERM) || sigismember(&set, SIGHUP) ? 143 : 0;
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
		job->still_us = threads_release(&job->target) - begin;
	}
	return r == 1 ? fail("pid %d has a thread that can't be stopped in the right place (it starts processes all the time, or waits for a disk); try again",
			     job->target.pid) : r;
}

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

/* Where patches go decides where the runtime goes: close by. */
static uint64_t near_code(const struct job *job, const uint8_t *lists)
{
	const struct ph_live_object *o = &job->live->objects[0];
	const struct ph_sites *list = (const struct ph_sites *)(lists + o->list);

	return o->base + list->text_start;
}

int job_put_in(struct job *job, const char *library, const uint8_t *lists, size_t bytes)
{
	struct target *t = &job->target;
	int64_t ignored;
	int found, r;

	if (!job->live->n_objects || bytes < sizeof(struct ph_sites) || job->live->objects[0].list > bytes - sizeof(struct ph_sites))
		return fail("no list of call sites was given");
	if (find_syscall(t) < 0)
		return -1;
	found = load_find(t, &job->loaded);
	if (found < 0)
		return -1;
	if (found && job->loaded.anchor.state == PH_LIVE_IN)
		return fail("pid %d is improved already; peephole detach %d takes that out", t->pid, t->pid);
	r = found ? load_room(t, &job->loaded, bytes, &job->lent_us) :
		    load_map(t, library, near_code(job, lists), bytes, &job->lent_us, &job->loaded);
	if (r < 0 || interrupted())
		return r < 0 ? r : interrupted();
	job->live->lists = load_lists(&job->loaded);
	job->live->lists_bytes = bytes;
	if (target_write(t, job->live->lists, lists, bytes) < 0 ||
	    target_write(t, live_at(job), job->live, sizeof(*job->live)) < 0)
		return fail("pid %d: its memory can't be written: %s", t->pid, strerror(errno));
	r = begin(job);
	if (r == 0)
		r = stop_and_change(job, job->loaded.anchor.commit, false);
	if (r)
		lend(job, job->loaded.anchor.abandon, &ignored);
	return r;
}

int job_take_out(struct job *job)
{
	int64_t result;
	int r = find_syscall(&job->target) < 0 ? -1 : load_find(&job->target, &job->loaded);

	if (r < 0)
		return r;
	if (r == 0 || job->loaded.anchor.state != PH_LIVE_IN)
		return fail("pid %d is not improved", job->target.pid);
	if (load_room(&job->target, &job->loaded, 0, &job->lent_us) < 0)
		return -1;
	r = lend(job, job->loaded.anchor.disarm, &result);
	if (r == 0 && result < 0)
		r = fail("pid %d: the runtime refuses: %s", job->target.pid, strerror((int)-result));
	if (r == 0)
		r = read_live(job);
	if (r == 0)
		r = stop_and_change(job, job->loaded.anchor.end, true);
	return r;
}

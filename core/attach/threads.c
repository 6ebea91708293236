#define _GNU_SOURCE
#include "threads.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define NEVER_US 100000		/* a thread that is not stopped by then waits for a processor: better later again */
#define NEVER_ONE_US 2000000
#define BORROW_TRIES 200
#define MASK_BYTES 8

/* Results with which the kernel restarts a call, invisible to programs. */
enum { ERESTARTSYS = 512, ERESTARTNOINTR = 513, ERESTARTNOHAND = 514, ERESTART_RESTARTBLOCK = 516 };

/* --- one stop -------------------------------------------------------------------------------------------------- */

static struct thread *add(struct target *t, pid_t tid)
{
	if (t->n_threads == t->room) {
		size_t room = t->room ? t->room * 2 : 64;
		struct thread *grown = realloc(t->threads, room * sizeof(*grown));

		if (!grown)
			return NULL;
		t->threads = grown;
		t->room = room;
	}
	t->threads[t->n_threads] = (struct thread){ .tid = tid };
	return &t->threads[t->n_threads++];
}

static struct thread *find(struct target *t, pid_t tid)
{
	for (size_t i = 0; i < t->n_threads; i++)
		if (t->threads[i].tid == tid)
			return &t->threads[i];
	return NULL;
}

/* The state letter of /proc/PID/task/TID/stat, or 0. */
static char state_of(const struct target *t, pid_t tid)
{
	char path[64], text[256], *paren;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", t->pid, tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	paren = strrchr(text, ')');
	return paren && paren[1] ? paren[2] : 0;
}

static void stopped(struct thread *th, int status)
{
	th->signal = 0;
	th->event = false;
	if (!WIFSTOPPED(status)) {
		th->gone = true;
		return;
	}
	th->stopped = true;
	th->in_kernel = false;
	if (status >> 16 == PTRACE_EVENT_STOP)
		th->event = true;	/* by us, or the whole process is stopped */
	else
		th->signal = WSTOPSIG(status);
	th->changed = false;
	if (ptrace(PTRACE_GETREGS, th->tid, 0, &th->regs) < 0)
		th->gone = true;
}

static bool in_call(const struct user_regs_struct *r)
{
	return (int64_t)r->orig_rax >= 0;
}

/* Some waits (epoll_wait, sigtimedwait, timed socket calls) end with EINTR after any stop, though no signal came, or one
 * that is ignored, as SIGCHLD mostly is: they are restarted, except where that would do something twice. When a handler
 * runs, the kernel makes EINTR of it again. */
static void undo_interruption(struct thread *th)
{
	struct user_regs_struct *r = &th->regs;

	if (!in_call(r) || (int64_t)r->rax != -EINTR || r->orig_rax == SYS_connect ||
	    r->orig_rax == SYS_close)
		return;
	r->rax = (uint64_t)-ERESTARTNOHAND;
	th->changed = true;
}

static void let_go(struct thread *th)
{
	if (th->gone || !th->stopped)
		return;
	undo_interruption(th);
	if (th->changed)
		ptrace(PTRACE_SETREGS, th->tid, 0, &th->regs);
	ptrace(PTRACE_DETACH, th->tid, 0, th->signal);
	th->stopped = false;
}

static volatile sig_atomic_t ticked;

static void tick(int signal)
{
	(void)signal;
	ticked = 1;
}

/* Waiting must end even if no thread ever stops. */
static void ticks(bool on)
{
	struct itimerval every = { { 0, on ? 1000 : 0 }, { 0, on ? 1000 : 0 } };
	struct sigaction action = { .sa_handler = tick };

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
}

/* From an earlier try: a thread that could not be stopped then. */
static bool is_ours(const struct target *t, pid_t tid)
{
	char path[64], line[128];
	bool ours = false;
	FILE *file;
	int tracer;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", t->pid, tid);
	file = fopen(path, "re");
	while (file && !ours && fgets(line, sizeof(line), file))
		ours = sscanf(line, "TracerPid: %d", &tracer) == 1 && tracer == getpid();
	if (file)
		fclose(file);
	return ours;
}

static int seize(struct target *t, pid_t tid)
{
	if (ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACESYSGOOD) == 0 || is_ours(t, tid))
		return 0;
	if (errno == ESRCH || state_of(t, tid) == 'Z' || state_of(t, tid) == 0)
		return 1;
	return fail("pid %d: can't be traced: %s; run this as root or as its user, with kernel.yama.ptrace_scope 0", t->pid,
		    strerror(errno));
}

/* --- borrowing one --------------------------------------------------------------------------------------------- */

struct rseq_configuration {
	uint64_t pointer;
	uint32_t size, signature, flags, pad;
};

/* Inside a restartable sequence, which would go on in the middle after we had moved it away and back. */
static bool in_rseq(const struct thread *th, const struct target *t)
{
	struct rseq_configuration rseq = { 0 };
	uint64_t section = 0;

	if (in_call(&th->regs) || ptrace((enum __ptrace_request)0x420f, th->tid, sizeof(rseq), &rseq) <= 0 || !rseq.pointer)
		return false;
	return target_read(t, rseq.pointer + 8, &section, 8) < 0 || section;
}

bool thread_can_be_borrowed(const struct thread *th, const struct target *t, uint64_t busy, uint64_t busy_end)
{
	return !th->gone && th->stopped && th->event && !(th->regs.rip >= busy && th->regs.rip < busy_end) && !in_rseq(th, t);
}

/* Waits for one thread; false when it does not stop soon. */
static bool await(struct thread *th, uint64_t limit_us)
{
	uint64_t begin = now_us();

	for (;;) {
		int status;
		pid_t got = waitpid(th->tid, &status, __WALL);

		if (got == th->tid) {
			stopped(th, status);
			return true;
		}
		if (errno != EINTR) {
			th->gone = true;
			return true;
		}
		if (now_us() - begin > limit_us)
			return false;
	}
}

static size_t list_tids(const struct target *t, pid_t *tids, size_t room)
{
	char path[64];
	struct dirent *e;
	size_t n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", t->pid);
	dir = opendir(path);
	while (dir && (e = readdir(dir)) && n < room)
		if (e->d_name[0] != '.')
			tids[n++] = atoi(e->d_name);
	if (dir)
		closedir(dir);
	return n;
}

/* The processes that a thread has made, as text; how many bytes. */
static size_t children_of(const struct target *t, pid_t tid, char *text, size_t room)
{
	char path[96];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", t->pid, tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, room - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
	return n > 0 ? (size_t)n : 0;
}

/* Threads that have children come last, and are let go first: while one is traced, its SIGCHLD is not dropped any more
 * where it is ignored, but interrupts whatever other thread it finds, which nobody could undo. */
static size_t list_tids_in_order(const struct target *t, pid_t *tids, size_t room)
{
	size_t n = list_tids(t, tids, room), end = n;
	char some[16];

	for (size_t i = 0; i < end;) {
		pid_t tid = tids[i];

		if (tid != t->pid && !children_of(t, tid, some, sizeof(some))) {
			i++;
			continue;
		}
		end--;
		tids[i] = tids[end];
		tids[end] = tid;
	}
	return n;
}

static void forget(struct target *t)
{
	t->n_threads = 0;
}

struct thread *thread_borrow(struct target *t, uint64_t busy, uint64_t busy_end)
{
	pid_t tids[4096];
	struct thread *th = t->held;

	if (th)
		return th;
	ticks(true);
	for (int i = 0; i < BORROW_TRIES && !th; i++) {
		size_t n = list_tids_in_order(t, tids, sizeof(tids) / sizeof(tids[0]));
		pid_t tid = n ? tids[(size_t)i % n] : 0;
		char state = tid ? state_of(t, tid) : 0;
		int r;

		if (!n)
			break;
		if (i && (size_t)i % n == 0)
			usleep(1000);
		if (state == 'D' || state == 'Z' || state == 'X' || state == 0)
			continue;
		if (state == 'T' || state == 't') {
			fail("pid %d is stopped; let it go on first (kill -CONT %d)", t->pid, t->pid);
			break;
		}
		forget(t);
		r = seize(t, tid);
		if (r < 0)
			break;
		th = r == 0 ? add(t, tid) : NULL;
		if (!th)
			continue;
		ptrace(PTRACE_INTERRUPT, tid, 0, 0);
		if (await(th, NEVER_ONE_US) && thread_can_be_borrowed(th, t, busy, busy_end))
			break;
		if (!th->stopped && !th->gone && state_of(t, tid) != 'D') {
			fail("pid %d: thread %d can't be stopped", t->pid, tid);
			th = NULL;
			break;
		}
		let_go(th);
		th = NULL;
	}
	ticks(false);
	if (!th)
		fail("pid %d: no thread of it can be stopped now; try again", t->pid);
	return th;
}

/* --- lent code -------------------------------------------------------------------------------------------------- */

static int set_mask(const struct thread *th, uint64_t mask)
{
	return (int)ptrace(PTRACE_SETSIGMASK, th->tid, MASK_BYTES, &mask);
}

/* To its next stop, which has to be of one kind. */
static int step(struct target *t, struct thread *th, enum __ptrace_request how, int stop_signal)
{
	int status;

	do {
		if (ptrace(how, th->tid, 0, 0) < 0)
			return fail("pid %d: thread %d is gone", t->pid, th->tid);
		while (waitpid(th->tid, &status, __WALL) < 0)
			if (errno != EINTR)
				return fail("pid %d: thread %d is gone", t->pid, th->tid);
		/* A SIGSTOP to the process, which it obeys when it is let go. */
	} while (WIFSTOPPED(status) && status >> 16 == PTRACE_EVENT_STOP && WSTOPSIG(status) != stop_signal);
	if (!WIFSTOPPED(status)) {
		th->gone = true;
		return fail("pid %d ended meanwhile", t->pid);
	}
	if (WSTOPSIG(status) != stop_signal)
		return fail("pid %d: thread %d stopped by signal %d in code that was lent to it", t->pid, th->tid, WSTOPSIG(status));
	return 0;
}

/* Registers of an interrupted call can be put back only in a stop on the signal path, where restarts are decided. */
static int put_back(struct target *t, struct thread *th, const struct user_regs_struct *saved, uint64_t mask, bool there)
{
	if (!there) {
		ptrace(PTRACE_INTERRUPT, th->tid, 0, 0);
		if (step(t, th, PTRACE_CONT, SIGTRAP) < 0)
			return -1;
	}
	if (ptrace(PTRACE_SETREGS, th->tid, 0, saved) < 0 || set_mask(th, mask) < 0)
		return fail("pid %d: thread %d is gone", t->pid, th->tid);
	th->regs = *saved;
	return 0;
}

int thread_syscall(struct target *t, struct thread *th, long nr, const uint64_t args[6], int64_t *result)
{
	struct user_regs_struct saved, r;
	uint64_t mask;

	if (ptrace(PTRACE_GETREGS, th->tid, 0, &saved) < 0 || ptrace(PTRACE_GETSIGMASK, th->tid, MASK_BYTES, &mask) < 0 ||
	    set_mask(th, ~0ull) < 0)
		return fail("pid %d: thread %d is gone", t->pid, th->tid);
	r = saved;
	r.orig_rax = (uint64_t)-1;
	r.rip = t->syscall_insn;
	r.rax = (uint64_t)nr;
	r.rdi = args[0];
	r.rsi = args[1];
	r.rdx = args[2];
	r.r10 = args[3];
	r.r8 = args[4];
	r.r9 = args[5];
	if (ptrace(PTRACE_SETREGS, th->tid, 0, &r) < 0 || step(t, th, PTRACE_SYSCALL, SIGTRAP | 0x80) < 0 ||
	    step(t, th, PTRACE_SYSCALL, SIGTRAP | 0x80) < 0 || ptrace(PTRACE_GETREGS, th->tid, 0, &r) < 0)
		return fail("pid %d: thread %d is gone", t->pid, th->tid);
	*result = (int64_t)r.rax;
	return put_back(t, th, &saved, mask, false);
}

int thread_call(struct target *t, struct thread *th, uint64_t call, uint64_t function, uint64_t argument, uint64_t stack,
		int64_t *result)
{
	struct user_regs_struct saved, r;
	uint64_t mask;

	if (ptrace(PTRACE_GETREGS, th->tid, 0, &saved) < 0 || ptrace(PTRACE_GETSIGMASK, th->tid, MASK_BYTES, &mask) < 0 ||
	    set_mask(th, ~(1ull << (SIGTRAP - 1))) < 0)
		return fail("pid %d: thread %d is gone", t->pid, th->tid);
	r = saved;
	r.orig_rax = (uint64_t)-1;
	r.rip = call;
	r.rax = function;
	r.rdi = argument;
	r.rsp = stack;
	r.eflags &= ~0x400ull;	/* direction */
	if (ptrace(PTRACE_SETREGS, th->tid, 0, &r) < 0 || step(t, th, PTRACE_CONT, SIGTRAP) < 0 ||
	    ptrace(PTRACE_GETREGS, th->tid, 0, &r) < 0)
		return -1;
	*result = (int64_t)r.rbx;
	return put_back(t, th, &saved, mask, true);
}

/* --- all of them ------------------------------------------------------------------------------------------------ */

/* Whether some process shares the target's memory without being a thread of it: a child in vfork or posix_spawn. It
 * runs the code that is to be changed, on behalf of nobody who is stopped. */
static bool in_vfork(const struct target *t)
{
	pid_t tids[4096];
	size_t count = list_tids(t, tids, sizeof(tids) / sizeof(tids[0]));

	for (size_t i = 0; i < count; i++) {
		char text[4096], *at = text;

		children_of(t, tids[i], text, sizeof(text));
		for (long child; (child = strtol(at, &at, 10)) > 0;)
			if (syscall(SYS_kcmp, t->pid, child, KCMP_VM, 0, 0) == 0)
				return true;
	}
	return false;
}

static int seize_new(struct target *t, size_t *outstanding)
{
	pid_t tids[4096];
	size_t begin = t->n_threads;
	size_t n = (begin ? list_tids : list_tids_in_order)(t, tids, sizeof(tids) / sizeof(tids[0]));

	for (size_t i = 0; i < n; i++) {
		int r;

		if (find(t, tids[i]))
			continue;
		r = seize(t, tids[i]);
		if (r < 0)
			return -1;
		if (!add(t, tids[i]))
			return fail("out of memory");
		if (r > 0)
			t->threads[t->n_threads - 1].gone = true;
	}
	/* Seized first, then stopped, so that they stop close to each other. */
	for (size_t i = begin; i < t->n_threads; i++) {
		if (t->threads[i].gone)
			continue;
		if (ptrace(PTRACE_INTERRUPT, t->threads[i].tid, 0, 0) < 0)
			t->threads[i].gone = true;
		else
			(*outstanding)++;
	}
	return 0;
}

/* Threads that wait in the kernel and can't be woken (disk, vfork) stop before they return to the program: good enough. */
static void accept_in_kernel(struct target *t, size_t *outstanding)
{
	for (size_t i = 0; i < t->n_threads; i++) {
		struct thread *th = &t->threads[i];
		char state;

		if (th->gone || th->stopped || th->in_kernel)
			continue;
		state = state_of(t, th->tid);
		th->in_kernel = state == 'D';
		th->gone = state == 'Z' || state == 'X' || state == 0;
		if (th->in_kernel || th->gone)
			(*outstanding)--;
	}
}

static int wait_for(struct target *t, size_t outstanding)
{
	uint64_t begin = now_us();

	while (outstanding) {
		int status;
		pid_t tid = waitpid(-1, &status, __WALL);
		struct thread *th = tid > 0 ? find(t, tid) : NULL;

		if (th) {
			outstanding -= !th->in_kernel && !th->stopped && !th->gone;
			stopped(th, status);
		} else if (tid < 0 && errno == ECHILD) {
			break;
		} else if (ticked) {
			ticked = 0;
			accept_in_kernel(t, &outstanding);
			if (outstanding && now_us() - begin > NEVER_US)
				return 1;
		}
	}
	return 0;
}

int threads_stop(struct target *t)
{
	int r;

	if (t->held)
		return 0;
	if (in_vfork(t))
		return 1;
	forget(t);
	ticks(true);
	for (;;) {
		size_t outstanding = 0;

		r = seize_new(t, &outstanding);
		if (r < 0 || !outstanding)
			break;
		r = wait_for(t, outstanding);
		if (r)
			break;
	}
	ticks(false);
	if (r == 0 && in_vfork(t))
		r = 1;
	return r;
}

int thread_hold(struct target *t, pid_t tid)
{
	struct thread *th = add(t, tid);
	int status;

	if (!th)
		return fail("out of memory");
	/* From the stop inside of exec to one on the signal path, before the first instruction. */
	ptrace(PTRACE_INTERRUPT, tid, 0, 0);
	do {
		if (ptrace(PTRACE_CONT, tid, 0, 0) < 0 || waitpid(tid, &status, __WALL) != tid || !WIFSTOPPED(status))
			return fail("pid %d is gone", tid);
	} while (status >> 16 != PTRACE_EVENT_STOP);
	stopped(th, status);
	t->held = th;
	return th->gone ? fail("pid %d is gone", tid) : 0;
}

uint64_t threads_release(struct target *t)
{
	uint64_t end;

	if (t->held)
		return now_us();
	for (size_t i = t->n_threads; i > 0; i--)
		let_go(&t->threads[i - 1]);
	end = now_us();
	/* Those that wait in the kernel stop when they come back, which a vfork does soon; the rest is let go when this
	 * program ends. */
	ticks(true);
	for (size_t i = 0; i < t->n_threads; i++) {
		struct thread *th = &t->threads[i];

		if (!th->gone && !th->stopped && th->in_kernel && await(th, NEVER_US))
			let_go(th);
	}
	ticks(false);
	return end;
}

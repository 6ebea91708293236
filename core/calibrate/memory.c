/* Prices of calls on memory, processes, signals and clocks. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

int ph_memory_init(struct bench *b)
{
	b->region = mmap(NULL, REGION_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return b->region == MAP_FAILED ? -errno : 0;
}

/* What prices are measured after: none of it costs a call. */
static int run_work(struct bench *b, long arg)
{
	(void)arg;
	ph_work(b->work);
	return 0;
}

static int run_getppid(struct bench *b, long arg)
{
	(void)b;
	(void)arg;
	return ph_result(syscall(SYS_getppid));
}

static int run_getpid(struct bench *b, long arg)
{
	(void)b;
	(void)arg;
	return ph_result(getpid());
}

static int run_clock(struct bench *b, long kernel)
{
	struct timespec t;

	(void)b;
	return ph_result(kernel ? syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t) : clock_gettime(CLOCK_MONOTONIC, &t));
}

static int run_sigprocmask(struct bench *b, long sig)
{
	sigset_t set;

	(void)b;
	sigemptyset(&set);
	sigaddset(&set, (int)sig);
	return ph_result(sigprocmask(SIG_UNBLOCK, &set, NULL));
}

/* To what it is already, from the second time on. */
static int run_sigaction(struct bench *b, long sig)
{
	const struct sigaction act = { .sa_handler = SIG_DFL };
	struct sigaction old;

	(void)b;
	return ph_result(sigaction((int)sig, &act, &old));
}

/* As malloc's arenas grow: the next page becomes usable. */
static int run_heap_grow(struct bench *b, long n)
{
	if (b->grown + n > REGION_BYTES) {
		if (mprotect(b->region, REGION_BYTES, PROT_NONE))
			return -errno;
		b->grown = 0;
	}
	b->grown += n;
	return ph_result(mprotect(b->region + b->grown - n, n, PROT_READ | PROT_WRITE));
}

static int run_map_anonymous(struct bench *b, long n)
{
	volatile char *at = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long done;

	(void)b;
	if (at == MAP_FAILED)
		return -errno;
	for (done = 0; done < n; done += 4096)
		at[done] = 1;
	return ph_result(munmap((void *)at, n));
}

/* The parent's part of starting a process that ends at once. */
static int run_fork(struct bench *b, long shared)
{
	pid_t child = shared ? vfork() : fork();

	(void)b;
	if (child < 0)
		return -errno;
	if (child == 0)
		_exit(0);
	return ph_result(waitpid(child, NULL, 0));
}

const struct op ph_memory_ops[] = {
	{ "work", 256, NULL, run_work, 0, 0 },
	{ "getppid", 1024, NULL, run_getppid, 0, 0 },
	{ "getpid", 1024, NULL, run_getpid, 0, 0 },
	{ "clock_gettime", 1024, NULL, run_clock, 1, 0 },
	{ "clock_vdso", 1024, NULL, run_clock, 0, 0 },
	{ "rt_sigprocmask", 1024, NULL, run_sigprocmask, SIGCHLD, 0 },
	{ "rt_sigaction", 1024, NULL, run_sigaction, SIGUSR1, 0 },
	{ "heap_grow", 64, NULL, run_heap_grow, 4096, 0 },
	{ "map_anonymous_131072", 8, NULL, run_map_anonymous, 131072, 0 },
	{ "fork", 4, NULL, run_fork, 0, 0 },
	{ "vfork", 4, NULL, run_fork, 1, 0 },
	{ 0 },
};

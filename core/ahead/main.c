/* peephole-ahead LIST PID: reads what LIST names ahead of the program PID, for as long as it is cold.
 *
 * Prints one line of JSON at its end: when all is read, when nothing is cold, when PID has ended, or standard input where
 * that is a pipe.
 * Exit 1 with a line that says why when it can't begin; what it does never depends on the program, nor the program on it. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/ioprio.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "list.h"
#include "only.h"
#include "touch.h"

#define THREADS 8		/* waits at the same time: more gained nothing on the disks tried */
#define CHUNK 16		/* files that one thread takes at a time */
#define FAR 6			/* warm chunks grow to CHUNK << FAR files, of which two are looked at */
#define MEMORY_SHARE 4		/* of the memory that is free for use, one part in so many */

static struct {
	struct ph_list list;
	pthread_mutex_t lock;
	size_t next;
	unsigned warm_chunks;	/* in a row */
	pthread_barrier_t all;
	atomic_bool stop;
	atomic_llong room, bytes;
	atomic_size_t cold, warm, gone;
} ahead = { .lock = PTHREAD_MUTEX_INITIALIZER };

static bool take(size_t *begin, size_t *end)
{
	bool more;

	pthread_mutex_lock(&ahead.lock);
	more = !ahead.stop && ahead.next < ahead.list.n && ahead.room > 0;
	if (more) {
		*begin = ahead.next;
		ahead.next += (size_t)CHUNK << (ahead.warm_chunks < FAR ? ahead.warm_chunks : FAR);
		if (ahead.next > ahead.list.n)
			ahead.next = ahead.list.n;
		*end = ahead.next;
	}
	pthread_mutex_unlock(&ahead.lock);
	return more;
}

static void was_warm(bool warm)
{
	pthread_mutex_lock(&ahead.lock);
	ahead.warm_chunks = warm ? ahead.warm_chunks + 1 : 0;
	pthread_mutex_unlock(&ahead.lock);
}

static bool touch(size_t i)
{
	int64_t asked;
	enum ph_touched touched = ph_touch(&ahead.list.wanted[i], ahead.room, &asked);

	atomic_fetch_sub(&ahead.room, asked);
	atomic_fetch_add(&ahead.bytes, asked);
	atomic_fetch_add(touched == PH_TOUCHED_COLD ? &ahead.cold : touched == PH_TOUCHED_WARM ? &ahead.warm : &ahead.gone, 1);
	return touched == PH_TOUCHED_COLD;
}

/* Passed when the kernel holds every thread to looking. A thread that only now begins would be killed for how it does. */
static void wait_to_be_held(void)
{
	pthread_barrier_wait(&ahead.all);
	pthread_barrier_wait(&ahead.all);
}

/* One thread: where neither the first nor the middle one of a chunk is cold, the rest is left to the program. */
static void *work(void *unused)
{
	size_t begin, end;

	(void)unused;
	wait_to_be_held();
	while (take(&begin, &end)) {
		size_t middle = begin + (end - begin) / 2;
		bool cold = touch(begin);

		cold |= middle > begin && touch(middle);
		was_warm(!cold);
		for (size_t i = begin + 1; cold && i < end && !ahead.stop && ahead.room > 0; i++)
			if (i != middle)
				touch(i);
	}
	return NULL;
}

/* Waits for the end of the program, or of the pipe. */
static void *watch(void *program)
{
	struct stat st;
	bool pipe = fstat(0, &st) == 0 && S_ISFIFO(st.st_mode);
	struct pollfd wait[] = { { .fd = *(int *)program, .events = POLLIN }, { .fd = pipe ? 0 : -1, .events = POLLIN } };

	wait_to_be_held();
	while (poll(wait, 2, -1) <= 0)
		;
	ahead.stop = true;
	return NULL;
}

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "peephole-ahead: %s: %s\n", what, why);
	return 1;
}

/* A part of the memory that could be used without swapping. */
static long long memory_share(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	long long kib = 0;
	char line[128];

	while (file && fgets(line, sizeof(line), file) && sscanf(line, "MemAvailable: %lld", &kib) != 1)
		;
	if (file)
		fclose(file);
	return kib * 1024 / MEMORY_SHARE;
}

/* Behind everybody else, for the CPU and for the disk. */
static void step_back(void)
{
	struct sched_param none = { 0 };

	sched_setscheduler(0, SCHED_BATCH, &none);
	setpriority(PRIO_PROCESS, 0, 19);
	syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 7));
}

static void report(void)
{
	const char *ended = ahead.stop ? "program" : ahead.room <= 0 ? "memory" : ahead.cold ? "done" : "warm";
	char line[256];
	int n = snprintf(line, sizeof(line),
		"{\"files\": %zu, \"cold\": %zu, \"warm\": %zu, \"gone\": %zu, \"bytes\": %lld, \"ended\": \"%s\"}\n",
		ahead.list.n, ahead.cold, ahead.warm, ahead.gone, (long long)ahead.bytes, ended);

	if (write(1, line, (size_t)n) != n)
		_exit(1);
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS], watcher;
	int program, r;

	if (argc != 3)
		return fail("usage", "peephole-ahead LIST PID");
	close_range(3, ~0u, 0);
	signal(SIGPIPE, SIG_IGN);
	r = ph_list_read(argv[1], &ahead.list);
	if (r < 0)
		return fail(argv[1], strerror(-r));
	program = (int)syscall(SYS_pidfd_open, atoi(argv[2]), 0);
	if (program < 0)
		return fail(argv[2], strerror(errno));
	ahead.room = memory_share();
	step_back();
	pthread_barrier_init(&ahead.all, NULL, THREADS + 2);
	r = pthread_create(&watcher, NULL, watch, &program);
	for (int i = 0; r == 0 && i < THREADS; i++)
		r = pthread_create(&threads[i], NULL, work, NULL);
	if (r)
		return fail("threads", strerror(r));
	pthread_barrier_wait(&ahead.all);
	r = ph_only_look();
	if (r < 0)
		return fail("seccomp", strerror(-r));
	pthread_barrier_wait(&ahead.all);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	report();
	_exit(0);
}

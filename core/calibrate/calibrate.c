/* What calls cost on the file system of a folder: `peephole-calibrate DIR [NAME...]` prints JSON; NAMEs: these prices only.
 * Without DIR it ends at once: what a start costs. Run with a rule in it, it tells what calls cost that the rule handles.
 *
 * Each price is measured in rounds that take turns, so that a disturbance does not fall on one price alone. Only the
 * CPU time of this thread counts, between two readings of its clock; what a batch needs first is done outside of it.
 * Everything happens in a private folder below DIR, which is gone at the end, after an error and after a signal. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define ROUNDS 5
#define BUDGET_NS 5000000LL	/* wall time of one price in one round, each way: all of them stay under 10 s */
#define OPS_MAX 96

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = sig;
}

static long long now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* One batch: CPU and wall time, with or without work before each run; without any run where `op` has none. */
static int batch(struct bench *b, const struct op *op, bool work, double *cpu_ns, double *wall_ns)
{
	long long w = now_ns(CLOCK_MONOTONIC), c = now_ns(CLOCK_THREAD_CPUTIME_ID);
	int i, r = 0;

	for (i = 0; i < op->batch && !r; i++) {
		if (work)
			ph_work(b->work);
		if (op->run)
			r = op->run(b, op->arg);
	}
	*cpu_ns += now_ns(CLOCK_THREAD_CPUTIME_ID) - c;
	*wall_ns += now_ns(CLOCK_MONOTONIC) - w;
	return r;
}

/* One price in one round, after work or in a bare loop: nanoseconds of CPU a time, or -errno. */
static int measure(struct bench *b, const struct op *op, bool work, double *cpu_ns, double *wall_ns)
{
	const struct op nothing = { .batch = op->batch };
	double cpu = 0, wall = 0, idle_cpu = 0, idle_wall = 0;
	long long start = now_ns(CLOCK_MONOTONIC);
	long count = 0;

	do {
		int r = op->prepare ? op->prepare(b) : 0;

		if (!r)
			r = batch(b, op, work, &cpu, &wall);
		if (!r)
			r = batch(b, &nothing, work, &idle_cpu, &idle_wall);
		if (r)
			return r;
		count += (long)op->batch * (op->per ? op->per : 1);
	} while (!interrupted && now_ns(CLOCK_MONOTONIC) - start < BUDGET_NS);
	*cpu_ns = cpu > idle_cpu ? (cpu - idle_cpu) / count : 0;
	*wall_ns = wall > idle_wall ? (wall - idle_wall) / count : 0;
	return 0;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* What one price took in each round. */
struct taken {
	double cpu[ROUNDS], wall[ROUNDS], bare[ROUNDS];
};

static void print_price(const char *name, struct taken *t, bool last)
{
	qsort(t->cpu, ROUNDS, sizeof(*t->cpu), by_value);
	qsort(t->wall, ROUNDS, sizeof(*t->wall), by_value);
	qsort(t->bare, ROUNDS, sizeof(*t->bare), by_value);
	printf("  \"%s\": {\"ns\": %.1f, \"low\": %.1f, \"high\": %.1f, \"bare_ns\": %.1f, \"wall_ns\": %.1f}%s\n", name,
	       t->cpu[ROUNDS / 2], t->cpu[ROUNDS / 4], t->cpu[ROUNDS - 1 - ROUNDS / 4], t->bare[ROUNDS / 2],
	       t->wall[ROUNDS / 2], last ? "" : ",");
}

static const struct op *const tables[] = { ph_file_ops, ph_name_ops, ph_socket_ops, ph_memory_ops };
#define N_TABLES (sizeof(tables) / sizeof(tables[0]))

/* Some file systems have no exchange of names, no attributes, no copies inside, no room: their prices are left out. */
static bool missing_here(int r)
{
	return r == -EOPNOTSUPP || r == -EINVAL || r == -ENOSYS || r == -EXDEV ||
	       r == -ENOSPC;
}

static bool wanted(const char *name, char **names)
{
	bool any = *names == NULL;

	for (; *names && !any; names++)
		any = !strcmp(*names, name);
	return any;
}

/* The prices named, or all of them; how many. */
static int choose(char **names, const struct op **ops)
{
	const struct op *op;
	int n = 0;
	size_t t;

	for (t = 0; t < N_TABLES; t++)
		for (op = tables[t]; op->name && n < OPS_MAX; op++)
			if (wanted(op->name, names))
				ops[n++] = op;
	return n;
}

static int measure_all(struct bench *b, char **names)
{
	static struct taken taken[OPS_MAX];
	static const struct op *ops[OPS_MAX];
	int round, i, n = choose(names, ops), last, r;

	/* The first round warms caches and is overwritten by the last. */
	for (round = 0; round <= ROUNDS; round++) {
		for (i = 0; i < n; i++) {
			struct taken *t = &taken[i];
			int at = round % ROUNDS;
			double unused;

			if (!ops[i])
				continue;
			r = measure(b, ops[i], true, &t->cpu[at], &t->wall[at]);
			if (!r)
				r = measure(b, ops[i], false, &t->bare[at], &unused);
			if (round == 0 && missing_here(r)) {
				ops[i] = NULL;
				continue;
			}
			if (r) {
				fprintf(stderr, "%s: %s: %s\n", b->folder, ops[i]->name, strerror(-r));
				return r;
			}
			if (interrupted)
				return -EINTR;
		}
	}
	for (last = n - 1; last > 0 && !ops[last];)
		last--;
	printf("{\n");
	for (i = 0; i <= last; i++)
		if (ops[i])
			print_price(ops[i]->name, &taken[i], i == last);
	printf("}\n");
	return 0;
}

static int bench_init(struct bench *b, const char *dir)
{
	int n = snprintf(b->folder, sizeof(b->folder), "%s/.peephole-calibrate-XXXXXX", dir);
	int r;

	b->fd = b->other_fd = b->scan_fd = b->null_fd = b->epoll = -1;
	b->pipe[0] = b->pipe[1] = b->pipe2[0] = b->pipe2[1] = -1;
	b->near[0] = b->near[1] = b->far[0] = b->far[1] = -1;
	if (n < 0 || n >= (int)sizeof(b->folder))
		return -ENAMETOOLONG;
	b->bytes = calloc(1, PIECE_MAX + WORK_BYTES);
	if (!b->bytes)
		return -ENOMEM;
	b->work = b->bytes + PIECE_MAX;
	if (!mkdtemp(b->folder)) {
		free(b->bytes);
		return -errno;
	}
	snprintf(b->file, sizeof(b->file), "%s/file", b->folder);
	snprintf(b->other, sizeof(b->other), "%s/other", b->folder);
	snprintf(b->absent, sizeof(b->absent), "%s/absent", b->folder);
	snprintf(b->next, sizeof(b->next), "%s/scan", b->folder);
	b->scan_fd = open(b->next, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	b->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	b->fd = open(b->file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	b->other_fd = open(b->other, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (b->fd < 0 || b->other_fd < 0 || b->scan_fd < 0 || b->null_fd < 0)
		return -errno;
	r = ph_socket_init(b);
	return r ? r : ph_memory_init(b);
}

static void bench_fini(struct bench *b)
{
	if (b->fd >= 0)
		close(b->fd);
	if (b->other_fd >= 0)
		close(b->other_fd);
	if (b->scan_fd >= 0)
		close(b->scan_fd);
	snprintf(b->next, sizeof(b->next), "%s/scan", b->folder);
	unlink(b->next);
	unlink(b->file);
	for (b->turn = 0; b->turn < MANY; b->turn++) {
		snprintf(b->next, sizeof(b->next), "%s/%d", b->folder, b->turn);
		unlink(b->next);
	}
	unlink(b->other);
	unlink(b->absent);
	rmdir(b->folder);
	free(b->bytes);
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_signal };
	static struct bench b;
	int r;

	if (argc < 2)
		return 0;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	r = bench_init(&b, argv[1]);
	if (r) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(-r));
		if (b.file[0])
			bench_fini(&b);
		return 1;
	}
	r = measure_all(&b, argv + 2);
	bench_fini(&b);
	return interrupted ? 128 + interrupted : r ? 1 : 0;
}

/* What calls cost on the file system of a folder: `peephole-calibrate DIR` prints JSON.
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

#define ROUNDS 11
#define BUDGET_NS 15000000LL	/* wall time of one price in one round: all of them stay under 20 s */
#define NAME_BYTES 4096
#define OVERWRITE_BYTES 4096
#define PIECE_MAX 65536

struct bench {
	char folder[NAME_BYTES];
	char file[NAME_BYTES + 16];
	char *bytes;
	int fd;
};

struct op {
	const char *name;
	int batch;
	int (*prepare)(struct bench *b);	/* before each batch, not timed; may be NULL */
	int (*run)(struct bench *b, long arg);
	long arg;
};

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

static int result(long r)
{
	return r < 0 ? -errno : 0;
}

static int empty_file(struct bench *b)
{
	if (ftruncate(b->fd, 0))
		return -errno;
	return result(lseek(b->fd, 0, SEEK_SET));
}

static int fill_file(struct bench *b)
{
	return result(pwrite(b->fd, b->bytes, OVERWRITE_BYTES, 0));
}

static int run_getppid(struct bench *b, long arg)
{
	(void)b;
	(void)arg;
	return result(syscall(SYS_getppid));
}

static int run_write(struct bench *b, long n)
{
	return result(write(b->fd, b->bytes, n));
}

static int run_pread(struct bench *b, long n)
{
	return result(pread(b->fd, b->bytes, n, 0));
}

static int run_fsync(struct bench *b, long n)
{
	if (pwrite(b->fd, b->bytes, n, 0) < 0)
		return -errno;
	return result(fsync(b->fd));
}

static int run_open_close(struct bench *b, long flags)
{
	int fd = open(b->file, flags | O_CLOEXEC);

	return fd < 0 ? -errno : result(close(fd));
}

static int run_stat(struct bench *b, long flags)
{
	struct stat st;

	return result(fstatat(AT_FDCWD, b->file, &st, flags));
}

static int run_access(struct bench *b, long mode)
{
	return result(access(b->file, mode));
}

/* The pair that truncate_in_place is about: the same bytes over the same file, two ways. */
static int run_overwrite(struct bench *b, long truncating)
{
	int fd = open(b->file, O_WRONLY | O_CLOEXEC | (truncating ? O_TRUNC : 0));
	int r;

	if (fd < 0)
		return -errno;
	r = result(write(fd, b->bytes, OVERWRITE_BYTES));
	if (!r && !truncating)
		r = result(ftruncate(fd, OVERWRITE_BYTES));
	close(fd);
	return r;
}

static const struct op ops[] = {
	{ "getppid", 1024, NULL, run_getppid, 0 },
	{ "write_64", 256, empty_file, run_write, 64 },
	{ "write_512", 256, empty_file, run_write, 512 },
	{ "write_4096", 64, empty_file, run_write, 4096 },
	{ "write_65536", 8, empty_file, run_write, 65536 },
	{ "open_close", 64, fill_file, run_open_close, O_RDONLY },
	{ "stat", 64, NULL, run_stat, 0 },
	{ "lstat", 64, NULL, run_stat, AT_SYMLINK_NOFOLLOW },
	{ "access", 64, NULL, run_access, R_OK },
	{ "pread_4096", 64, fill_file, run_pread, 4096 },
	{ "fsync", 1, NULL, run_fsync, 512 },
	{ "overwrite_truncating", 16, fill_file, run_overwrite, 1 },
	{ "overwrite_in_place", 16, fill_file, run_overwrite, 0 },
};
#define N_OPS ((int)(sizeof(ops) / sizeof(ops[0])))

/* One price in one round: nanoseconds of CPU a time, or -errno. */
static int measure(struct bench *b, const struct op *op, double *cpu_ns, double *wall_ns)
{
	long long cpu = 0, wall = 0, start = now_ns(CLOCK_MONOTONIC);
	long count = 0;

	do {
		long long c, w;
		int i, r = op->prepare ? op->prepare(b) : 0;

		if (r)
			return r;
		w = now_ns(CLOCK_MONOTONIC);
		c = now_ns(CLOCK_THREAD_CPUTIME_ID);
		for (i = 0; i < op->batch && !r; i++)
			r = op->run(b, op->arg);
		cpu += now_ns(CLOCK_THREAD_CPUTIME_ID) - c;
		wall += now_ns(CLOCK_MONOTONIC) - w;
		if (r)
			return r;
		count += op->batch;
	} while (!interrupted && now_ns(CLOCK_MONOTONIC) - start < BUDGET_NS);
	*cpu_ns = (double)cpu / count;
	*wall_ns = (double)wall / count;
	return 0;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void print_price(const char *name, double *cpu, double *wall, bool last)
{
	qsort(cpu, ROUNDS, sizeof(*cpu), by_value);
	qsort(wall, ROUNDS, sizeof(*wall), by_value);
	printf("  \"%s\": {\"ns\": %.1f, \"low\": %.1f, \"high\": %.1f, \"wall_ns\": %.1f}%s\n", name, cpu[ROUNDS / 2],
	       cpu[ROUNDS / 4], cpu[ROUNDS - 1 - ROUNDS / 4], wall[ROUNDS / 2], last ? "" : ",");
}

static int measure_all(struct bench *b)
{
	static double cpu[N_OPS][ROUNDS + 1], wall[N_OPS][ROUNDS + 1];
	int round, i, r;

	/* The first round warms caches and is overwritten by the last. */
	for (round = 0; round <= ROUNDS; round++) {
		for (i = 0; i < N_OPS; i++) {
			r = measure(b, &ops[i], &cpu[i][round % ROUNDS], &wall[i][round % ROUNDS]);
			if (r) {
				fprintf(stderr, "%s: %s: %s\n", b->folder, ops[i].name, strerror(-r));
				return r;
			}
			if (interrupted)
				return -EINTR;
		}
	}
	printf("{\n");
	for (i = 0; i < N_OPS; i++)
		print_price(ops[i].name, cpu[i], wall[i], i == N_OPS - 1);
	printf("}\n");
	return 0;
}

static int bench_init(struct bench *b, const char *dir)
{
	int n = snprintf(b->folder, sizeof(b->folder), "%s/.peephole-calibrate-XXXXXX", dir);

	b->fd = -1;
	if (n < 0 || n >= (int)sizeof(b->folder))
		return -ENAMETOOLONG;
	b->bytes = calloc(1, PIECE_MAX);
	if (!b->bytes)
		return -ENOMEM;
	if (!mkdtemp(b->folder)) {
		free(b->bytes);
		return -errno;
	}
	snprintf(b->file, sizeof(b->file), "%s/file", b->folder);
	b->fd = open(b->file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return b->fd < 0 ? -errno : 0;
}

static void bench_fini(struct bench *b)
{
	if (b->fd >= 0)
		close(b->fd);
	unlink(b->file);
	rmdir(b->folder);
	free(b->bytes);
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_signal };
	static struct bench b;
	int r;

	if (argc != 2) {
		fprintf(stderr, "usage: peephole-calibrate DIR\n");
		return 2;
	}
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	r = bench_init(&b, argv[1]);
	if (r) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(-r));
		if (b.fd < 0 && b.file[0])
			bench_fini(&b);
		return 1;
	}
	r = measure_all(&b);
	bench_fini(&b);
	return interrupted ? 128 + interrupted : r ? 1 : 0;
}

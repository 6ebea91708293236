/* peephole-ring --ring FILE --out FOLDER [--grace SECONDS]: reads what programs write of their calls.
 *
 * Says "ready" on its output, reads until SIGTERM, then goes on as long as processes that were seen live, but SECONDS at
 * most, or until the next SIGTERM. Leaves in FOLDER calls.raw, paths.raw, starts.raw (lanes.h) and ring.json: for each lane
 * what end.json has of a CPU (abi_record.h), and how many processes were left. Its exit code is an errno, 0, or 2 for wrong
 * usage. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "lanes.h"

#define BUSY_NS 1000000l
#define IDLE_NS 5000000l
#define LOOK_NS 20000000ll	/* at who lives */
#define POINT_NS 1000000000ll	/* of the clock */

#define USAGE 2

struct clock {
	struct ph_ticks *points;
	size_t n, room;
};

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static uint64_t ticks(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

/* Counter and CLOCK_MONOTONIC in the same moment, as near as can be. */
static int take_point(struct clock *clock)
{
	uint64_t shortest = ~0ull;
	struct ph_ticks *point;

	if (clock->n == clock->room) {
		point = realloc(clock->points, (2 * clock->room + 64) * sizeof(*point));
		if (!point)
			return -ENOMEM;
		clock->points = point;
		clock->room = 2 * clock->room + 64;
	}
	point = &clock->points[clock->n++];
	for (int i = 0; i < 10; i++) {
		uint64_t before = ticks(), after;
		int64_t ns = now_ns();

		after = ticks();
		if (after - before >= shortest)
			continue;
		shortest = after - before;
		*point = (struct ph_ticks){ before + shortest / 2, ns };
	}
	return 0;
}

/* Waits; 1: SIGTERM came. Others are the command's, and ctrl-C is said to us by SIGTERM. */
static int asked(long timeout_ns)
{
	struct timespec timeout = { .tv_nsec = timeout_ns };
	sigset_t wanted;

	sigemptyset(&wanted);
	sigaddset(&wanted, SIGTERM);
	return sigtimedwait(&wanted, NULL, &timeout) == SIGTERM;
}

static void prepare_signals(void)
{
	sigset_t blocked;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
}

/* How many processes are left. A failure is remembered, and nothing is written from then on. */
static int follow(struct ph_lanes *lanes, struct clock *clock, int64_t grace_ns, int *err)
{
	int64_t pointed = now_ns(), looked = 0, until = 0;

	for (;;) {
		long taken = *err ? 0 : ph_lanes_drain(lanes, 0);

		if (taken < 0) {
			*err = (int)taken;
			__atomic_store_n(&lanes->ring->on, 0, __ATOMIC_RELAXED);
		}
		if (now_ns() - pointed > POINT_NS) {
			pointed = now_ns();
			*err = take_point(clock) ? -ENOMEM : *err;
		}
		if (asked(taken > 0 ? BUSY_NS : IDLE_NS)) {
			if (until)
				return ph_lanes_living(lanes);
			until = now_ns() + grace_ns;
		}
		if (until && now_ns() - looked > LOOK_NS) {
			int living;

			looked = now_ns();
			living = taken > 0 && looked < until ? 1 : ph_lanes_living(lanes);
			if (!living || looked >= until)
				return living;
		}
	}
}

static int finish(struct ph_lanes *lanes, struct clock *clock, struct ph_spill_file *to)
{
	long n = 0;

	__atomic_store_n(&lanes->ring->on, 0, __ATOMIC_RELAXED);
	for (int final = 0; final < 2 && n >= 0; final++) {	/* a writer may have been between looking and taking */
		asked(IDLE_NS);
		n = ph_lanes_drain(lanes, final);
	}
	if (n < 0)
		return (int)n;
	return take_point(clock) ? -ENOMEM : ph_spill_file_flush(to);
}

static int write_counts(int folder, const struct ph_lanes *lanes, const uint64_t *records, int left)
{
	int fd = openat(folder, "ring.json", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");

	if (!file)
		return -errno;
	fprintf(file, "{\"left\":%d,\"cpus\":[", left);
	for (uint32_t i = 0; i < lanes->ring->lanes; i++) {
		unsigned long long lost = lanes->lanes[i].lost, unread = lanes->lanes[i].unread;

		fprintf(file, "%s[%llu,%llu,0,%llu,0]", i ? "," : "", (unsigned long long)records[i] + lost, lost, unread);
	}
	fputs("]}\n", file);
	return fclose(file) ? -errno : 0;
}

static int record(const char *ring, int folder, int64_t grace_ns)
{
	struct ph_spill_file to = { .fd = -1 };
	struct clock clock = { 0 };
	struct ph_lanes lanes = { 0 };
	uint64_t *records = NULL;
	int err = ph_spill_file_init(&to, folder, "lanes.raw"), left;

	if (!err)
		err = ph_lanes_init(&lanes, ring, &to);
	if (!err)
		err = take_point(&clock);
	if (!err) {
		puts("ready");
		fflush(stdout);
		left = follow(&lanes, &clock, grace_ns, &err);
		err = err ? err : finish(&lanes, &clock, &to);
		records = calloc(lanes.ring->lanes, sizeof(*records));
		err = err || records ? err : -ENOMEM;
		if (!err)
			err = ph_lanes_unpack(folder, clock.points, clock.n, lanes.ring->lanes, records);
		if (!err)
			err = write_counts(folder, &lanes, records, left);
	}
	free(records);
	free(clock.points);
	ph_lanes_fini(&lanes);
	ph_spill_file_fini(&to);
	return err;
}

int main(int argc, char **argv)
{
	const char *ring = NULL, *out = NULL;
	int64_t grace_ns = 0;
	int folder, err;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--ring"))
			ring = argv[i + 1];
		else if (!strcmp(argv[i], "--out"))
			out = argv[i + 1];
		else if (!strcmp(argv[i], "--grace"))
			grace_ns = (int64_t)(strtod(argv[i + 1], NULL) * 1e9);
	}
	folder = ring && out ? open(out, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (folder < 0) {
		fputs("usage: peephole-ring --ring FILE --out FOLDER [--grace SECONDS]\n", stderr);
		return USAGE;
	}
	prepare_signals();
	err = record(ring, folder, grace_ns);
	if (err)
		fprintf(stderr, "%s\n", strerror(-err));
	return -err;
}

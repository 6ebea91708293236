/* The call sequences of the paper's section 4.2, each in a function of the paper's name.
 *
 *	sequences measure TABLE WRITE MMAP FILE COUNT BYTES     times of both functions, as JSON
 *	sequences check TABLE VARIANT FILE BYTES                leaves the file as three iterations leave it
 *
 * TABLE 1 writes the same BYTES each time; tables 2 and 3 write BYTES, half as much and half as much again in turn, so
 * that the file is as large as the data, larger, and smaller (the paper's variant that grows a mapped file).
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef int sequence(const char *name, const char *data, size_t size);

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int write_all(int fd, const char *data, size_t size)
{
	return write(fd, data, size) == (ssize_t)size ? 0 : -1;
}

/* squid's own: the file is emptied as it is opened */
static int truncate_write(const char *name, const char *data, size_t size)
{
	int fd = open(name, O_TRUNC | O_WRONLY | O_CREAT | O_NONBLOCK, 0644);

	return fd < 0 || write_all(fd, data, size) || close(fd) ? -1 : 0;
}

/* table 3's: the backing store is kept, and the file cut to size at the end */
static int inplace_write(const char *name, const char *data, size_t size)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_NONBLOCK, 0644);

	return fd < 0 || write_all(fd, data, size) || ftruncate(fd, (off_t)size) || close(fd) ? -1 : 0;
}

/* table 1's, as printed: the file must be large enough */
static int map_plain(const char *name, const char *data, size_t size, int sharing)
{
	int fd = open(name, O_RDWR | O_NONBLOCK, 0644);
	char *memory;

	if (fd < 0)
		return -1;
	memory = mmap(0, size, PROT_READ | PROT_WRITE, sharing, fd, 0);
	if (memory == MAP_FAILED)
		return -1;
	memcpy(memory, data, size);
	return munmap(memory, size) || close(fd) ? -1 : 0;
}

static int map_private(const char *name, const char *data, size_t size)
{
	return map_plain(name, data, size, MAP_PRIVATE);
}

static int map_shared(const char *name, const char *data, size_t size)
{
	return map_plain(name, data, size, MAP_SHARED);
}

static int copy_mapped(int fd, const char *data, size_t size, int sharing)
{
	char *memory = mmap(0, size, PROT_READ | PROT_WRITE, sharing, fd, 0);

	if (memory == MAP_FAILED)
		return -1;
	memcpy(memory, data, size);
	return munmap(memory, size);
}

/* tables 2 and 3: the three cases of the paper */
static int map_cases(const char *name, const char *data, size_t size, int sharing)
{
	int fd = open(name, O_CREAT | O_NONBLOCK | O_RDWR, 0644);
	struct stat now;
	size_t old;

	if (fd < 0 || fstat(fd, &now))
		return -1;
	old = (size_t)now.st_size;
	if (old >= size) {
		if (copy_mapped(fd, data, size, sharing) || ftruncate(fd, (off_t)size))
			return -1;
	} else if (old > 0) {
		if (copy_mapped(fd, data, old, sharing) || lseek(fd, 0, SEEK_END) < 0 ||
		    write_all(fd, data + old, size - old))
			return -1;
	} else if (write_all(fd, data, size)) {
		return -1;
	}
	return close(fd);
}

static int cases_private(const char *name, const char *data, size_t size)
{
	return map_cases(name, data, size, MAP_PRIVATE);
}

static int cases_shared(const char *name, const char *data, size_t size)
{
	return map_cases(name, data, size, MAP_SHARED);
}

static const struct {
	const char *name;
	sequence *run;
} variants[] = {
	{ "truncate_write", truncate_write }, { "inplace_write", inplace_write }, { "map_private", map_private },
	{ "map_shared", map_shared },         { "cases_private", cases_private }, { "cases_shared", cases_shared },
};

static sequence *variant(const char *name)
{
	for (size_t i = 0; i < sizeof(variants) / sizeof(*variants); i++)
		if (!strcmp(variants[i].name, name))
			return variants[i].run;
	fprintf(stderr, "sequences: no variant %s\n", name);
	exit(2);
}

static size_t size_of(int table, long round, size_t bytes)
{
	static const int halves[] = { 2, 1, 3 };

	return table == 1 ? bytes : bytes * (size_t)halves[round % 3] / 2;
}

static double now_s(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct cost {
	double wall_s, cpu_s;
};

static struct cost repeated(sequence *run, int table, const char *name, char *data, long count, size_t bytes)
{
	struct cost begin = { now_s(CLOCK_MONOTONIC), now_s(CLOCK_PROCESS_CPUTIME_ID) };

	for (long i = 0; i < count; i++)
		if (run(name, data, size_of(table, i, bytes)))
			fail(name);
	return (struct cost){ now_s(CLOCK_MONOTONIC) - begin.wall_s, now_s(CLOCK_PROCESS_CPUTIME_ID) - begin.cpu_s };
}

static int measure(char **argv)
{
	int table = atoi(argv[2]);
	long count = atol(argv[6]);
	size_t bytes = (size_t)atol(argv[7]);
	double begin_s = now_s(CLOCK_MONOTONIC);
	char *data = malloc(bytes * 2);
	struct cost written, mapped;

	if (!data)
		fail("malloc");
	memset(data, 'x', bytes * 2);
	if (truncate_write(argv[5], data, bytes))
		fail(argv[5]);
	written = repeated(variant(argv[3]), table, argv[5], data, count, bytes);
	mapped = repeated(variant(argv[4]), table, argv[5], data, count, bytes);
	printf("{\"write_s\": %.9f, \"write_cpu_s\": %.9f, \"mmap_s\": %.9f, \"mmap_cpu_s\": %.9f, \"whole_s\": %.9f}\n",
	       written.wall_s, written.cpu_s, mapped.wall_s, mapped.cpu_s, now_s(CLOCK_MONOTONIC) - begin_s);
	return 0;
}

/* Three iterations on a file of known content: 'o' before, '1' to '3' as they write. */
static int check(char **argv)
{
	int table = atoi(argv[2]);
	size_t bytes = (size_t)atol(argv[5]);
	char *data = malloc(bytes * 2);

	if (!data)
		fail("malloc");
	memset(data, 'o', bytes * 2);
	if (truncate_write(argv[4], data, table == 1 ? bytes : bytes * 2))
		fail(argv[4]);
	for (int round = 0; round < 3; round++) {
		memset(data, '1' + round, bytes * 2);
		if (variant(argv[3])(argv[4], data, size_of(table, round, bytes)))
			fail(argv[4]);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 8 && !strcmp(argv[1], "measure"))
		return measure(argv);
	if (argc == 6 && !strcmp(argv[1], "check"))
		return check(argv);
	fprintf(stderr, "usage: sequences measure TABLE WRITE MMAP FILE COUNT BYTES | check TABLE VARIANT FILE BYTES\n");
	return 2;
}

/* cost_record WHAT N FILE: nanoseconds of its own CPU time a call, the least of several rounds; for bench/record_cost.py.
 *   getppid    no argument, no file
 *   pread      4 KiB of a cached page
 *   ofrc       open, fstat, read 4 KiB, close: the mean of the four */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 5

static char data[4096];

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static long whole_file(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY);
	long failed = fd < 0 || fstat(fd, &st);

	failed |= read(fd, data, sizeof(data)) < 0;
	return failed | close(fd);
}

int main(int argc, char **argv)
{
	long n = argc > 3 ? atol(argv[2]) : 0, failed = 0;
	double best = 1e18;
	int fd;

	if (n <= 0)
		return 2;
	fd = open(argv[3], O_RDONLY);
	for (int round = 0; round < ROUNDS; round++) {
		double start = cpu_ns(), took;

		for (long i = 0; i < n; i++) {
			if (argv[1][0] == 'g')
				failed |= syscall(SYS_getppid) < 0;
			else if (argv[1][0] == 'p')
				failed |= pread(fd, data, sizeof(data), 0) < 0;
			else
				failed |= whole_file(argv[3]);
		}
		took = (cpu_ns() - start) / (double)n / (argv[1][0] == 'o' ? 4 : 1);
		best = took < best ? took : best;
	}
	fprintf(stderr, "%.2f\n", best);
	return failed != 0;
}

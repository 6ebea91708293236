/* cost_calls WHAT N FILE: nanoseconds a call, the least of several rounds of N; for bench/interpose_cost.py.
 *   getppid   no rule wants to see it
 *   lseek     on /dev/null: every rule's dispatcher sees it and lets it pass
 *   syscall   getppid by libc's syscall(), whose number is known only in the call: C sees it, no rule wants it
 *   pread     the same, with an argument that libc moves into place (another kind of patch)
 *   write     one byte to FILE, a regular file: answered without the kernel where a rule gathers small writes */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 9

static double now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static long call(char what, int fd)
{
	char c = 'x';

	switch (what) {
	case 'g':
		return getppid();
	case 's':
		return syscall(SYS_getppid);
	case 'l':
		return lseek(fd, 0, SEEK_CUR);
	case 'p':
		return pread(fd, &c, 1, 0);
	default:
		return write(fd, &c, 1);
	}
}

int main(int argc, char **argv)
{
	double best = 1e18;
	long n = argc > 3 ? atol(argv[2]) : 0, failed = 0;

	if (n <= 0)
		return 2;
	for (int round = 0; round < ROUNDS; round++) {
		int fd = argv[1][0] == 'w' ? open(argv[3], O_WRONLY | O_CREAT | O_TRUNC, 0600) : open("/dev/null", O_RDWR);
		double start = now_ns(), took;

		for (long i = 0; i < n; i++)
			failed += call(argv[1][0], fd) < 0;
		took = (now_ns() - start) / (double)n;
		best = took < best ? took : best;
		close(fd);
	}
	printf("%.2f %ld\n", best, failed);
	return 0;
}

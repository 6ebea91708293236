/* Calls with known callers: `calls_stacks N` makes N getppid through outer, middle and inner (and libc's syscall()), and
 * computes in `burns` until it has used a third of a second of CPU time. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BURN_NS 330000000l

static volatile long sink;

__attribute__((noinline)) void inner(void)
{
	sink += syscall(SYS_getppid);
}

/* A frame of its own, larger than registers alone would make it. */
__attribute__((noinline)) void middle(long i)
{
	volatile char room[96];

	room[i & 63] = i;
	inner();
	sink += room[i & 63];
}

__attribute__((noinline)) void outer(long n)
{
	for (long i = 0; i < n; i++)
		middle(i);
	sink++;
}

__attribute__((noinline)) void burns(void)
{
	struct timespec t;

	do {
		for (int i = 0; i < 1000000; i++)
			sink += i;
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	} while (t.tv_sec * 1000000000l + t.tv_nsec < BURN_NS);
}

int main(int argc, char **argv)
{
	outer(argc > 1 ? atol(argv[1]) : 1);
	burns();
	return 0;
}

/* Asks who it is for every line, as Python's logging does: demo FILE COUNT */
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long count = argc > 2 ? atol(argv[2]) : 1000, sum = 0;
	FILE *f = argc > 1 ? fopen(argv[1], "w") : NULL;

	if (!f)
		return 2;
	for (long i = 0; i < count; i++)
		sum += syscall(SYS_getpid) == getpid() ? (long)(getuid() + geteuid()) : 1000000;
	fprintf(f, "%ld of %ld\n", sum, count);
	return fclose(f) == 0 ? 0 : 1;
}

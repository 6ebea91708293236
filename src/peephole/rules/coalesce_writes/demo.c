/* The pattern as programs have it: a log whose lines are written one by one, and a look at the position now and then.
 * demo FILE LINES */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int lines = argc > 2 ? atoi(argv[2]) : 10000, fd;
	off_t at = 0;

	fd = argc > 1 ? open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644) : -1;
	for (int i = 0; fd >= 0 && i < lines; i++) {
		char line[64];
		int n = snprintf(line, sizeof(line), "event %d happened\n", i);

		if (write(fd, line, (size_t)n) != n)
			return 1;
		at += n;
		if (i % 1000 == 0 && lseek(fd, 0, SEEK_CUR) != at)
			return 1;
	}
	return fd < 0 || close(fd) < 0;
}

/* The pattern as programs have it: each record of a scratch file is synced before the next is written.
 * demo FILE RECORDS */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int records = argc > 2 ? atoi(argv[2]) : 1000;
	int fd = argc > 1 ? open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644) : -1;

	for (int i = 0; fd >= 0 && i < records; i++) {
		char record[64];
		int n = snprintf(record, sizeof(record), "record %d\n", i);

		if (write(fd, record, (size_t)n) != n || (i % 2 ? fsync(fd) : fdatasync(fd)) < 0)
			return 1;
	}
	return fd < 0 || close(fd) < 0;
}

/* A log of commits, each of two records that are synced; now and then another file is changed, as a checkpoint does. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int put(int fd, const char *what, int i)
{
	return dprintf(fd, "%s %d\n", what, i) < 0 || fdatasync(fd) < 0;
}

int main(int argc, char **argv)
{
	int n = argc > 2 ? atoi(argv[2]) : 200, failed = 0;
	char other[4096];
	int fd, table;

	if (argc < 2)
		return 2;
	snprintf(other, sizeof(other), "%s.table", argv[1]);
	fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644);
	table = open(other, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	for (int i = 0; i < n; i++) {
		failed |= put(fd, "record", i) || put(fd, "commit", i);
		if (i % 100 == 99)
			failed |= put(table, "checkpoint", i);
	}
	return failed || close(fd) || close(table) || unlink(other);
}

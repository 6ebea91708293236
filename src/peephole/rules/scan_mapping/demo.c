/* Scans a file of COUNT blocks, twice; the sum of its bytes goes into another: demo FILE COUNT */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 8192

static unsigned char block[BLOCK];

static int scan(int fd, unsigned long *sum)
{
	ssize_t n;

	for (off_t at = 0; (n = pread(fd, block, BLOCK, at)) > 0; at += n)
		for (ssize_t i = 0; i < n; i++)
			*sum = *sum * 31 + block[i];
	return n < 0;
}

int main(int argc, char **argv)
{
	long count = argc > 2 ? atol(argv[2]) : 1000;
	unsigned long sum = 0;
	char path[4096];
	FILE *out;
	int fd;

	if (argc < 2)
		return 2;
	snprintf(path, sizeof(path), "%s.blocks", argv[1]);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	for (long i = 0; fd >= 0 && i < count; i++) {
		memset(block, (int)(i * 7), BLOCK);
		if (pwrite(fd, block, BLOCK, i * BLOCK) != BLOCK)
			return 1;
	}
	if (fd < 0 || scan(fd, &sum) || ftruncate(fd, count * BLOCK - 1000) || scan(fd, &sum) || close(fd) || unlink(path))
		return 1;
	out = fopen(argv[1], "w");
	return !out || fprintf(out, "%lu\n", sum) < 0 || fclose(out);
}

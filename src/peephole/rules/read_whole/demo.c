/* The pattern as programs have it: a cache that reads its files in blocks, with a seek before each, and sends each block on
 * before the next. demo FILE ROUNDS */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BYTES = 20000, BLOCK = 4096 };

static int make(const char *name)
{
	static char text[BYTES];
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	for (int i = 0; i < BYTES; i++)
		text[i] = (char)(i % 61 ? 'a' + i * 7919 % 26 : '\n');
	return fd < 0 || write(fd, text, BYTES) != BYTES || close(fd) < 0;
}

static int send_on(int in, int out, int *ends)
{
	char block[BLOCK];
	ssize_t n;

	for (off_t at = 0; lseek(in, at, SEEK_SET) == at && (n = read(in, block, BLOCK)) > 0; at += n) {
		if (write(ends[1], block, (size_t)n) != n || read(ends[0], block, (size_t)n) != n)
			return 1;
		if (out >= 0 && write(out, block, (size_t)n) != n)
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	int rounds = argc > 2 ? atoi(argv[2]) : 2000, ends[2], out;
	char name[4096];

	if (argc < 2 || (size_t)snprintf(name, sizeof(name), "%s.in", argv[1]) >= sizeof(name) || make(name) || pipe(ends))
		return 1;
	out = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644);
	for (int i = 0; out >= 0 && i < rounds; i++) {
		int in = open(name, O_RDONLY);

		if (in < 0 || send_on(in, i ? -1 : out, ends) || close(in) < 0)
			return 1;
	}
	return unlink(name) < 0 || close(out) < 0;
}

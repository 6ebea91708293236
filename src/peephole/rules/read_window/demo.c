/* The pattern as programs have it: a parser that reads a few hundred bytes here, then a line byte by byte there, of one
 * file, and writes what it found to another. demo FILE ROUNDS */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BYTES = 300000 };

static int make(const char *name)
{
	static char text[BYTES];
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	for (int i = 0; i < BYTES; i++)
		text[i] = (char)(i % 61 ? 'a' + i * 7919 % 26 : '\n');
	return fd < 0 || write(fd, text, BYTES) != BYTES || close(fd) < 0;
}

int main(int argc, char **argv)
{
	int rounds = argc > 2 ? atoi(argv[2]) : 10000, in, out;
	unsigned long sum = 5381;
	char name[4096], found[64];

	if (argc < 2 || (size_t)snprintf(name, sizeof(name), "%s.in", argv[1]) >= sizeof(name) || make(name))
		return 1;
	in = open(name, O_RDONLY);
	out = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644);
	for (int i = 0; in >= 0 && out >= 0 && i < rounds; i++) {
		char block[256], c;
		off_t at = (off_t)i * 256 % (BYTES - 256);

		if (pread(in, block, sizeof(block), at) != sizeof(block))
			return 1;
		for (int j = 0; j < 256; j++)
			sum = sum * 33 + (unsigned char)block[j];
		for (int j = 0; j < 20 && read(in, &c, 1) == 1; j++)
			sum = sum * 33 + (unsigned char)c;
	}
	snprintf(found, sizeof(found), "%lx at %ld\n", sum, (long)lseek(in, 0, SEEK_CUR));
	if (write(out, found, strlen(found)) < 0 || unlink(name) < 0)
		return 1;
	return close(in) < 0 || close(out) < 0;
}

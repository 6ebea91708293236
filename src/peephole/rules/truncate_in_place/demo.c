/* The pattern as programs have it: a file is saved again and again, each time emptied by open and written anew, now
 * longer, now shorter. demo FILE ROUNDS */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static char text[65536];
	int rounds = argc > 2 ? atoi(argv[2]) : 1000;

	for (int i = 0; argc > 1 && i < rounds; i++) {
		size_t size = 16384 + (size_t)(i * 7919 % 16384);
		int fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644);

		memset(text, 'a' + i % 26, size);
		if (fd < 0 || write(fd, text, size) != (ssize_t)size || close(fd) < 0)
			return 1;
	}
	return argc < 2;
}

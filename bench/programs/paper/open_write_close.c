/* The program of the paper's section 4.2, whose three calls are those of squid: overwrite a file, emptying it first.
 *
 *	open_write_close FILE COUNT BYTES
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: open_write_close FILE COUNT BYTES\n");
		return 2;
	}
	long count = atol(argv[2]);
	size_t bytes = (size_t)atol(argv[3]);
	char *data = malloc(bytes);

	if (!data)
		return 1;
	memset(data, 'x', bytes);
	for (long i = 0; i < count; i++) {
		int fd = open(argv[1], O_TRUNC | O_WRONLY | O_NONBLOCK);

		if (fd < 0 || write(fd, data, bytes) != (ssize_t)bytes || close(fd)) {
			perror(argv[1]);
			return 1;
		}
	}
	free(data);
	return 0;
}

/* The pattern as programs have it: a file is saved again and again, each time written under a temporary name that is
 * then renamed over the old one. demo FILE ROUNDS */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static char text[20000];
	int rounds = argc > 2 ? atoi(argv[2]) : 1000;
	char temporary[4096];

	if (argc < 2 || (size_t)snprintf(temporary, sizeof(temporary), "%s.new", argv[1]) >= sizeof(temporary))
		return 1;
	for (int i = 0; i < rounds; i++) {
		int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0644);

		memset(text, 'a' + i % 26, sizeof(text));
		if (fd < 0 || write(fd, text, sizeof(text)) != sizeof(text) || close(fd) < 0)
			return 1;
		if (rename(temporary, argv[1]) < 0)
			return 1;
	}
	return 0;
}

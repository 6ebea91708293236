/* Headers are looked for in three folders, and are in none of them: as a compiler with many -I does. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int n = argc > 2 ? atoi(argv[2]) : 200, found = 0, fd;
	char path[4096];

	if (argc < 2)
		return 2;
	fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644);
	for (int i = 0; i < n; i++)
		for (int folder = 0; folder < 3; folder++) {
			snprintf(path, sizeof(path), "%s.include%d/header-%d.h", argv[1], folder, i);
			found += open(path, O_RDONLY) >= 0;
		}
	return found || dprintf(fd, "none\n") < 0 || close(fd);
}

/* Everything that may be open is closed, one number after the other, as before a program is started. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int n = argc > 2 ? atoi(argv[2]) : 1000, failed = 0, fd;

	if (argc < 2)
		return 2;
	for (int i = 3; i < n + 200; i++)
		failed += close(i) < 0;
	fd = open(argv[1], O_WRONLY | O_CREAT, 0644);
	if (fd != 3 || failed < n || write(fd, "done\n", 5) != 5)
		return 1;
	return close(fd) || !close(fd);
}

/* Asks a file where it is and how it was opened, again and again: demo FILE COUNT */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int fd = argc > 1 ? open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0644) : -1;
	long count = argc > 2 ? atol(argv[2]) : 1000;
	char line[24] = "line of the demo file\n";
	struct termios tio;

	if (fd < 0)
		return 2;
	for (long i = 0; i < count; i++) {
		off_t at = lseek(fd, 0, SEEK_CUR);

		line[0] = (char)('a' + at % 26);
		if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR || ioctl(fd, TCGETS, &tio) == 0)
			return 1;
		if (lseek(fd, at, SEEK_SET) != at || write(fd, line, sizeof(line) - 2) != sizeof(line) - 2)
			return 1;
	}
	return close(fd) == 0 ? 0 : 1;
}

/* A listing asks each file for its label and its access list, after it has looked at it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const struct timespec step = { .tv_nsec = 50000000 };	/* what has just changed may change unseen */
	int n = argc > 2 ? atoi(argv[2]) : 200, absent = 0, fd;
	struct statx st;

	if (argc < 2)
		return 2;
	fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0 || dprintf(fd, "%d\n", n) < 0 || close(fd) < 0 || nanosleep(&step, NULL) < 0)
		return 1;
	for (int i = 0; i < n; i++) {
		if (statx(AT_FDCWD, argv[1], AT_SYMLINK_NOFOLLOW, STATX_MODE | STATX_MTIME, &st) < 0)
			return 1;
		absent += lgetxattr(argv[1], "security.selinux", NULL, 0) < 0 && errno == ENODATA;
		absent += getxattr(argv[1], "system.posix_acl_access", NULL, 0) < 0 && errno == ENODATA;
	}
	return absent != 2 * n;
}

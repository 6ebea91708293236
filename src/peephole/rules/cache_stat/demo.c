/* Commands that each examine the same files: as `git status` does, time after time, in one shell. */
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILES 50

static int command(void)
{
	struct stat st;
	char name[32];
	long bytes = 0;

	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "files.d/%d", i);
		bytes += lstat(name, &st) == 0 ? st.st_size : -1;
	}
	return bytes != FILES * 5;
}

int main(int argc, char **argv)
{
	int n = argc > 2 ? atoi(argv[2]) / FILES + 1 : 4, failed = 0, fd;
	char name[4096];

	if (argc < 2)
		return 2;
	snprintf(name, sizeof(name), "%s", argv[1]);
	failed = chdir(dirname(name)) || mkdir("files.d", 0700);
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "files.d/%d", i);
		fd = open(name, O_WRONLY | O_CREAT, 0600);
		failed |= write(fd, "file\n", 5) != 5 || close(fd);
	}
	for (int i = 0; i <= n; i++) {
		pid_t child = fork();
		int status;

		if (child == 0)
			_exit(command());
		failed |= waitpid(child, &status, 0) < 0 || status;
		nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);	/* whoever types the commands takes longer */
	}
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "files.d/%d", i);
		failed |= unlink(name);
	}
	fd = open(basename(argv[1]), O_WRONLY | O_CREAT | O_TRUNC, 0644);
	return failed || rmdir("files.d") || dprintf(fd, "%d files\n", FILES) < 0 || close(fd);
}

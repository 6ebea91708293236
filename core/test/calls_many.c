/* Makes a known number of calls: `calls_many calls N` makes N getppid, `calls_many processes N` starts N children that
 * exit at once, `calls_many chain` goes through fork, vfork and exec, `calls_many files` opens the same file again and
 * again, `calls_many pipe` hands a pipe to a child, `calls_many compat` makes i386's getpid and close(-1), `calls_many
 * handler` returns from a signal handler. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int processes(long n)
{
	for (long i = 0; i < n; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(i & 127);
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			return 2;
	}
	return 0;
}

static int chain(char *self, int depth)
{
	char number[12], *argv[] = { self, "chain", number, NULL };
	pid_t pid;

	snprintf(number, sizeof(number), "%d", depth - 1);
	if (!depth)
		return 3;
	pid = depth & 1 ? vfork() : fork();
	if (!pid) {
		execv(self, argv);
		_exit(9);
	}
	return waitpid(pid, NULL, 0) == pid ? depth : 9;
}

static int files(const char *path)
{
	char byte;

	for (int i = 0; i < 1000; i++) {
		int fd = open(path, O_RDONLY), copy;

		if (fd < 0 || read(fd, &byte, 1) != 1)
			return 2;
		copy = fcntl(fd, F_DUPFD, 50);
		if (copy < 0 || pread(copy, &byte, 1, 0) != 1)
			return 2;
		close(fd);
		close(copy);
	}
	return 0;
}

static int piped(void)
{
	int ends[2];
	char byte = 'x';
	pid_t pid;

	if (pipe(ends))
		return 2;
	pid = fork();
	if (!pid) {
		close(ends[0]);
		_exit(write(ends[1], &byte, 1) != 1);
	}
	close(ends[1]);
	if (read(ends[0], &byte, 1) != 1 || waitpid(pid, NULL, 0) != pid)
		return 2;
	close(ends[0]);
	return 0;
}

static long compat(long nr, long argument)
{
	long ret;

	__asm__ volatile("int $0x80" : "=a"(ret) : "0"(nr), "b"(argument) : "r8", "r9", "r10", "r11", "memory");
	return (int)ret;
}

static void nothing(int signo)
{
	(void)signo;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	long n = argc > 2 ? atol(argv[2]) : 0;

	if (!strcmp(what, "calls")) {
		for (long i = 0; i < n; i++)
			syscall(SYS_getppid);
		return 0;
	}
	if (!strcmp(what, "processes"))
		return processes(n);
	if (!strcmp(what, "chain"))
		return chain(argv[0], n);
	if (!strcmp(what, "files"))
		return files(argv[2]);
	if (!strcmp(what, "pipe"))
		return piped();
	if (!strcmp(what, "compat"))
		return compat(20, 0) == getpid() && compat(6, -1) == -9 ? 0 : 77;
	if (!strcmp(what, "handler"))
		return signal(SIGUSR1, nothing) == SIG_ERR || raise(SIGUSR1);
	return 2;
}

/* What the conformance programs share. Each prints what it saw, the same plain and improved; the test compares. */
#ifndef PH_TEST_CONFORM_H
#define PH_TEST_CONFORM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct check {
	const char *name;
	void (*run)(void);
};

static inline void say(const char *format, ...)
{
	va_list args;

	__builtin_va_start(args, format);
	vprintf(format, args);
	__builtin_va_end(args);
	fflush(stdout);
}

/* A call's result and errno by name. */
#define SAY_CALL(call)                                                                                   \
	do {                                                                                             \
		errno = 0;                                                                               \
		long result = (long)(call);                                                              \
		say("  %s = %s%s\n", #call, result < 0 ? "-1 " : "ok", result < 0 ? strerrorname_np(errno) : ""); \
	} while (0)

/* How a child ended. */
static inline void say_status(const char *what, int status)
{
	if (WIFSIGNALED(status))
		say("  %s: signal %d\n", what, WTERMSIG(status));
	else
		say("  %s: exit %d\n", what, WEXITSTATUS(status));
}

/* In a child of its own, so that dying is a result too. */
static inline void run_in_child(const struct check *check)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		alarm(30);
		check->run();
		exit(0);
	}
	waitpid(pid, &status, 0);
	say_status(check->name, status);
}

#define CONFORM_MAIN(checks)                                                                 \
	int main(int argc, char **argv)                                                      \
	{                                                                                    \
		for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {            \
			if (argc > 1 && strcmp(argv[1], checks[i].name) != 0)                \
				continue;                                                    \
			say("%s\n", checks[i].name);                                         \
			run_in_child(&checks[i]);                                            \
		}                                                                            \
		return 0;                                                                    \
	}

#endif

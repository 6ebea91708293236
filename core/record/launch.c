#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Signals the recorder must outlive: they are the command's, and what was recorded is kept. */
static const int passed_on[] = { SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 };

static void wanted_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGCHLD);
	for (size_t i = 0; i < sizeof(passed_on) / sizeof(passed_on[0]); i++)
		sigaddset(set, passed_on[i]);
}

static void child(const struct ph_launch *launch, int go, int failed, const char *path, char *const argv[],
		  uint64_t cookie)
{
	char byte;

	if (read(go, &byte, 1) != 1)
		_exit(127);
	sigprocmask(SIG_SETMASK, &launch->old_mask, NULL);
	prctl((int)cookie, cookie, 0, 0, 0);
	execv(path, argv);
	byte = errno;
	if (write(failed, &byte, 1) != 1)
		_exit(126);
	_exit(127);
}

int ph_launch_init(struct ph_launch *launch, const char *path, char *const argv[], uint64_t cookie)
{
	int go[2], failed[2];
	sigset_t wanted;

	if (pipe2(go, O_CLOEXEC))
		return -errno;
	if (pipe2(failed, O_CLOEXEC)) {
		close(go[0]);
		close(go[1]);
		return -EMFILE;
	}
	wanted_signals(&wanted);
	sigprocmask(SIG_BLOCK, &wanted, &launch->old_mask);
	launch->pid = fork();
	if (!launch->pid) {
		close(go[1]);
		close(failed[0]);
		child(launch, go[0], failed[1], path, argv, cookie);
	}
	close(go[0]);
	close(failed[1]);
	launch->go = go[1];
	launch->failed = failed[0];
	return launch->pid < 0 ? -EAGAIN : 0;
}

int ph_launch_go(struct ph_launch *launch)
{
	unsigned char byte = 0;
	ssize_t n;

	if (write(launch->go, "g", 1) != 1)
		return -errno;
	close(launch->go);
	do
		n = read(launch->failed, &byte, 1);
	while (n < 0 && errno == EINTR);
	close(launch->failed);
	if (n != 1)
		return 0;
	waitpid(launch->pid, NULL, 0);
	return -byte;
}

void ph_launch_cancel(struct ph_launch *launch)
{
	close(launch->go);
	close(launch->failed);
	waitpid(launch->pid, NULL, 0);
}

int ph_launch_wait(struct ph_launch *launch, long timeout_ns, int *status)
{
	struct timespec timeout = { .tv_nsec = timeout_ns };
	struct rusage used = { 0 };
	siginfo_t info;
	sigset_t wanted;
	int signo;

	wanted_signals(&wanted);
	signo = sigtimedwait(&wanted, &info, &timeout);
	/* A terminal sends ctrl-C to the command itself; what one process sent to us alone is passed on. */
	if (signo > 0 && signo != SIGCHLD && info.si_code <= 0)
		kill(launch->pid, signo);
	if (wait4(launch->pid, status, WNOHANG, &used) != launch->pid)
		return 0;
	launch->cpu_ns = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000LL +
			 (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000LL;
	return 1;
}

void ph_launch_none(struct ph_launch *launch)
{
	sigset_t wanted;

	wanted_signals(&wanted);
	*launch = (struct ph_launch){ 0 };
	sigprocmask(SIG_BLOCK, &wanted, &launch->old_mask);
}

int ph_launch_asked_to_end(long timeout_ns)
{
	struct timespec timeout = { .tv_nsec = timeout_ns };
	sigset_t wanted;
	int signo;

	wanted_signals(&wanted);
	signo = sigtimedwait(&wanted, NULL, &timeout);
	return signo > 0 && signo != SIGCHLD && signo != SIGUSR1 && signo != SIGUSR2;
}

static int runnable(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return -errno;
	if (S_ISDIR(st.st_mode) || access(path, X_OK))
		return -EACCES;
	return 0;
}

int ph_launch_find(const char *name, char *path, size_t n)
{
	const char *at = getenv("PATH");
	int err = -ENOENT;

	if (strchr(name, '/')) {
		err = runnable(name);
		return err ? err : snprintf(path, n, "%s", name) >= (int)n ? -ENAMETOOLONG : 0;
	}
	if (!at)
		at = "/bin:/usr/bin";
	while (*name) {
		size_t len = strcspn(at, ":");

		if (snprintf(path, n, "%.*s%s%s", (int)len, at, len ? "/" : "./", name) < (int)n) {
			int one = runnable(path);

			if (!one)
				return 0;
			if (one == -EACCES)
				err = one;
		}
		at += len;
		if (!*at++)
			break;
	}
	return err;
}

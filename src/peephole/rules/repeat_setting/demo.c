/* Sets signals to what they are, as a shell does for each command, itself and in a child: demo FILE COUNT */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int came;

static void on_signal(int signal)
{
	came += signal;
}

/* How often the old action was the new one. */
static long set(void (*handler)(int), long count)
{
	struct sigaction act = { .sa_handler = handler, .sa_flags = SA_RESTART }, old;
	long same = 0;

	sigaddset(&act.sa_mask, SIGUSR2);
	for (long i = 0; i < count; i++) {
		if (sigaction(SIGUSR1, &act, &old) < 0)
			return -1;
		same += old.sa_handler == handler && old.sa_flags == act.sa_flags && sigismember(&old.sa_mask, SIGUSR2) == 1;
	}
	return same;
}

int main(int argc, char **argv)
{
	long count = argc > 2 ? atol(argv[2]) : 1000, same = set(on_signal, count + 1), inherited;
	int status = 1;
	FILE *f;

	raise(SIGUSR1);
	if (fork() == 0)
		_exit(set(on_signal, 10) != 10 || set(SIG_DFL, 10) != 9);
	wait(&status);
	inherited = set(SIG_IGN, 3) + set(on_signal, 3);
	raise(SIGUSR1);
	f = argc > 1 ? fopen(argv[1], "w") : NULL;
	if (!f)
		return 2;
	fprintf(f, "%ld the same, %ld after a child (%d), %d\n", same, inherited, status, came);
	return fclose(f) == 0 ? 0 : 1;
}

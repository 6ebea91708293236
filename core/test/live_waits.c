/* What threads must not notice when the runtime comes and goes: waits that end early, calls that fail with EINTR, bytes
 * that are lost. Prints "ready", runs until its standard input ends, prints what went wrong and how often each wait was
 * made. For tests/improve/test_live.py. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sem.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 15

static atomic_bool over;
static atomic_int wrong;
static int idle[2], busy[2];	/* a socket pair on which nothing comes, and one that is always busy */

static void complain(const char *what, long result, double ms)
{
	if (atomic_fetch_add(&wrong, 1) < 20)
		printf("%s: result %ld, %s, after %.2f ms\n", what, result, strerror(errno), ms);
}

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static long sleeps(void)
{
	struct timespec ts = { 0, WAIT_MS * 1000000 };

	return nanosleep(&ts, NULL);
}

static long clock_sleeps(void)
{
	struct timespec ts = { 0, WAIT_MS * 1000000 };

	return clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
}

static long epolls(void)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = { .events = EPOLLIN };
	long r;

	epoll_ctl(fd, EPOLL_CTL_ADD, idle[0], &e);
	r = epoll_wait(fd, &e, 1, WAIT_MS);
	close(fd);
	return r;
}

static long polls(void)
{
	struct pollfd p = { idle[0], POLLIN, 0 };

	return poll(&p, 1, WAIT_MS);
}

static long selects(void)
{
	struct timeval tv = { 0, WAIT_MS * 1000 };
	fd_set set;

	FD_ZERO(&set);
	FD_SET(idle[0], &set);
	return select(idle[0] + 1, &set, NULL, NULL, &tv);
}

static long receives(void)
{
	struct timeval tv = { 0, WAIT_MS * 1000 };
	char c;
	long r;

	setsockopt(idle[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	r = recv(idle[0], &c, 1, 0);
	return r == -1 && errno == EAGAIN ? 0 : r;
}

static long semaphores(void)
{
	struct timespec ts;
	sem_t sem;
	long r;

	sem_init(&sem, 0, 0);
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_nsec += WAIT_MS * 1000000;
	ts.tv_sec += ts.tv_nsec / 1000000000;
	ts.tv_nsec %= 1000000000;
	r = sem_timedwait(&sem, &ts);
	return r == -1 && errno == ETIMEDOUT ? 0 : r;
}

static long signals(void)
{
	struct timespec ts = { 0, WAIT_MS * 1000000 };
	sigset_t set;
	long r;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	r = sigtimedwait(&set, NULL, &ts);
	return r == -1 && errno == EAGAIN ? 0 : r;
}

static long system_v(void)
{
	struct timespec ts = { 0, WAIT_MS * 1000000 };
	struct sembuf op = { 0, -1, 0 };
	int id = semget(IPC_PRIVATE, 1, 0600);
	long r = semtimedop(id, &op, 1, &ts);
	int error = errno;

	semctl(id, 0, IPC_RMID);
	errno = error;
	return r == -1 && errno == EAGAIN ? 0 : r;
}

struct wait {
	const char *name;
	long (*run)(void);
	long made;
};

static struct wait waits[] = {
	{ "nanosleep", sleeps, 0 }, { "clock_nanosleep", clock_sleeps, 0 }, { "epoll_wait", epolls, 0 },
	{ "poll", polls, 0 }, { "select", selects, 0 }, { "recv", receives, 0 }, { "sem_timedwait", semaphores, 0 },
	{ "sigtimedwait", signals, 0 }, { "semtimedop", system_v, 0 },
};

static void *waiter(void *argument)
{
	struct wait *w = argument;

	while (!over) {
		double begin = now_ms(), took;
		long r;

		errno = 0;
		r = w->run();
		took = now_ms() - begin;
		if (r != 0 || took < WAIT_MS - 1)
			complain(w->name, r, took);
		w->made++;
	}
	return NULL;
}

/* A byte at a time through a pair of sockets: each arrives once, in order. */
static long sent, received;

static void *sender(void *unused)
{
	(void)unused;
	while (!over) {
		unsigned char c = (unsigned char)sent++;

		if (write(busy[0], &c, 1) != 1)
			complain("write", 0, 0);
	}
	shutdown(busy[0], SHUT_WR);
	return NULL;
}

static void *receiver(void *unused)
{
	unsigned char c;
	ssize_t r;

	(void)unused;
	while ((r = read(busy[1], &c, 1)) == 1)
		if (c != (unsigned char)received++)
			complain("read", c, 0);
	if (r < 0)
		complain("read", r, 0);
	return NULL;
}

static atomic_long caught;

static void on_signal(int signal)
{
	(void)signal;
	caught++;
}

static void *signaller(void *argument)
{
	pthread_t victim = *(pthread_t *)argument;

	while (!over) {
		pthread_kill(victim, SIGUSR1);
		usleep(700);
	}
	return NULL;
}

extern char **environ;

static void *spawner(void *unused)
{
	char *const argv[] = { "true", NULL };

	(void)unused;
	while (!over) {
		int status = -1;
		pid_t pid;

		if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ) != 0 || waitpid(pid, &status, 0) != pid || status)
			complain("posix_spawn", status, 0);
		usleep(3000);
	}
	return NULL;
}

static void *nothing(void *argument)
{
	return argument;
}

static void *maker(void *unused)
{
	(void)unused;
	while (!over) {
		pthread_t thread;
		void *result = NULL;

		if (pthread_create(&thread, NULL, nothing, &over) != 0 || pthread_join(thread, &result) != 0 || result != &over)
			complain("pthread_create", 0, 0);
		usleep(2000);
	}
	return NULL;
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	size_t n = sizeof(waits) / sizeof(waits[0]);
	pthread_t threads[16], io[2], storm;
	sigset_t set;
	char c;

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	/* posix_spawn blocks signals; a SIGCHLD that comes before it has opened them, which is a matter of scheduling, is not
	 * dropped but interrupts some other thread. */
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigaction(SIGUSR1, &action, NULL);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, idle) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, busy) < 0)
		return 2;
	pthread_create(&io[0], NULL, receiver, NULL);
	pthread_create(&io[1], NULL, sender, NULL);
	pthread_create(&storm, NULL, signaller, &io[0]);
	for (size_t i = 0; i < n; i++)
		pthread_create(&threads[i], NULL, waiter, &waits[i]);
	pthread_create(&threads[n], NULL, spawner, NULL);
	pthread_create(&threads[n + 1], NULL, maker, NULL);
	puts("ready");
	while (read(0, &c, 1) > 0 || errno == EINTR)
		errno = 0;
	over = true;
	for (size_t i = 0; i < n + 2; i++)
		pthread_join(threads[i], NULL);
	pthread_join(storm, NULL);
	pthread_join(io[1], NULL);
	pthread_join(io[0], NULL);
	if (received != sent)
		complain("bytes", sent - received, 0);
	for (size_t i = 0; i < n; i++)
		if (!waits[i].made)
			complain(waits[i].name, -2, 0);
	printf("wrong %d signals %d\n", atomic_load(&wrong), caught > 0);
	return wrong != 0;
}

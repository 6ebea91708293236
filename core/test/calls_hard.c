/* What is hard to record, one word each; what was done is printed, a line each, for the test to compare.
 *	sleep           sleeps in nanosleep and in a read from a pipe, and not in getppid
 *	sockets FOLDER  addresses of every family, given and returned
 *	uring FILE      io_uring operations: opcode, user_data, result
 *	threads N       N threads at once, each with access("thread I")
 *	exec SELF       a thread that is not the leader executes SELF
 *	outlive         leaves a child behind that calls access("left behind") when its parent is gone
 *	killed          a child dies by SIGKILL inside of read
 *	reuse N         N processes under one and the same number (77 where it can't be chosen)
 *	serve           says "ready", then calls getpriority(88, I), a hundred times a second, until it is killed */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SLEEP_NS 60000000

static void pause_ns(long ns)
{
	struct timespec t = { .tv_nsec = ns };

	nanosleep(&t, NULL);
}

static int sleeps(void)
{
	int ends[2];
	char byte = 'x';
	pid_t pid;

	pause_ns(SLEEP_NS);
	syscall(SYS_getppid);
	if (pipe(ends))
		return 2;
	pid = fork();
	if (!pid) {
		pause_ns(SLEEP_NS);
		_exit(write(ends[1], &byte, 1) != 1);
	}
	if (read(ends[0], &byte, 1) != 1)
		return 2;
	syscall(SYS_getppid);
	return waitpid(pid, NULL, 0) != pid;
}

static int unix_sockets(const char *folder)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	struct sockaddr_storage peer;
	socklen_t len;
	int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0), abstract;

	snprintf(name.sun_path, sizeof(name.sun_path), "%s/a \xff socket", folder);
	if (bind(server, (void *)&name, sizeof(name)) || listen(server, 1) || connect(client, (void *)&name, sizeof(name)))
		return 2;
	printf("bind\tunix:%s\nconnect\tunix:%s\n", name.sun_path, name.sun_path);
	abstract = socket(AF_UNIX, SOCK_DGRAM, 0);
	memset(name.sun_path, 0, sizeof(name.sun_path));
	snprintf(name.sun_path + 1, 16, "t%d", getpid());
	len = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name.sun_path + 1);
	if (bind(abstract, (void *)&name, len))
		return 2;
	printf("bind\tunix:@%s\n", name.sun_path + 1);
	len = sizeof(peer);
	return accept(server, (void *)&peer, &len) < 0;
}

static int inet_sockets(void)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) }, from;
	struct sockaddr_in6 name6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT, .sin6_port = htons(9) };
	struct iovec data = { .iov_base = "x", .iov_len = 1 };
	struct msghdr message = { .msg_name = &name, .msg_namelen = sizeof(name), .msg_iov = &data, .msg_iovlen = 1 };
	socklen_t len = sizeof(name);
	int one = socket(AF_INET, SOCK_DGRAM, 0), two = socket(AF_INET, SOCK_DGRAM, 0), six = socket(AF_INET6, SOCK_DGRAM, 0);
	char byte;

	if (bind(one, (void *)&name, sizeof(name)) || getsockname(one, (void *)&name, &len))
		return 2;
	printf("bind\tinet:127.0.0.1:0\ngetsockname\tinet:127.0.0.1:%d\n", ntohs(name.sin_port));
	if (sendto(two, "x", 1, 0, (void *)&name, sizeof(name)) != 1)
		return 2;
	printf("sendto\tinet:127.0.0.1:%d\n", ntohs(name.sin_port));
	if (sendmsg(two, &message, 0) != 1)
		return 2;
	printf("sendmsg\tinet:127.0.0.1:%d\n", ntohs(name.sin_port));
	len = sizeof(from);
	if (recvfrom(one, &byte, 1, 0, (void *)&from, &len) != 1)
		return 2;
	printf("recvfrom\tinet:127.0.0.1:%d\n", ntohs(from.sin_port));
	if (six >= 0) {
		connect(six, (void *)&name6, sizeof(name6));
		printf("connect\tinet6:[::1]:9\n");
	}
	return 0;
}

static int uring(const char *path)
{
	static char data[64];
	struct io_uring_params params = { 0 };
	int ring = syscall(SYS_io_uring_setup, 4, &params), fd = open(path, O_RDONLY);
	unsigned char *sq, *cq;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	unsigned int *tail, *array;

	if (ring < 0)
		return 77;
	sq = mmap(NULL, params.sq_off.array + params.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	cq = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(*cqes), PROT_READ | PROT_WRITE, MAP_SHARED, ring,
		  IORING_OFF_CQ_RING);
	sqes = mmap(NULL, params.sq_entries * sizeof(*sqes), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || sqes == MAP_FAILED)
		return 2;
	tail = (void *)(sq + params.sq_off.tail);
	array = (void *)(sq + params.sq_off.array);
	sqes[0] = (struct io_uring_sqe){ .opcode = IORING_OP_NOP, .user_data = 11 };
	sqes[1] = (struct io_uring_sqe){ .opcode = IORING_OP_READ, .fd = fd, .addr = (unsigned long)data, .len = 5,
					 .user_data = 22 };
	sqes[2] = (struct io_uring_sqe){ .opcode = IORING_OP_READ, .fd = -1, .addr = (unsigned long)data, .len = 5,
					 .user_data = 33 };
	for (unsigned int i = 0; i < 3; i++)
		array[i] = i;
	__atomic_store_n(tail, 3, __ATOMIC_RELEASE);
	for (int i = 0; i < 3; i++)	/* a failed submission ends the batch */
		syscall(SYS_io_uring_enter, ring, 3 - i, 0, 0, NULL, 0);
	syscall(SYS_io_uring_enter, ring, 0, 3, IORING_ENTER_GETEVENTS, NULL, 0);
	cqes = (void *)(cq + params.cq_off.cqes);
	for (int i = 0; i < 3; i++)
		printf("%llu\t%d\n", cqes[i].user_data, cqes[i].res);
	printf("fd\t%d\n", fd);
	return 0;
}

static pthread_barrier_t all_there;

static void *one_thread(void *number)
{
	char path[32];

	snprintf(path, sizeof(path), "thread %ld", (long)number);
	pthread_barrier_wait(&all_there);
	access(path, F_OK);
	return NULL;
}

static int threads(long n)
{
	pthread_t *all = calloc(n, sizeof(*all));
	pthread_attr_t attr;

	if (!all || pthread_barrier_init(&all_there, NULL, n))
		return 2;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	for (long i = 0; i < n; i++)
		if (pthread_create(&all[i], &attr, one_thread, (void *)i))
			return 2;
	for (long i = 0; i < n; i++)
		pthread_join(all[i], NULL);
	return 0;
}

static void *execs(void *self)
{
	char *argv[] = { self, "sleep", NULL };

	access("before exec", F_OK);
	execv(self, argv);
	return NULL;
}

static int exec_in_thread(char *self)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, execs, self))
		return 2;
	pthread_join(thread, NULL);
	return 2;
}

static int outlive(void)
{
	pid_t parent = getpid();

	if (fork())
		return 5;
	while (getppid() == parent)
		pause_ns(1000000);
	pause_ns(SLEEP_NS);
	access("left behind", F_OK);
	return 0;
}

static int killed(void)
{
	int ends[2];
	char byte;
	pid_t pid;

	if (pipe(ends))
		return 2;
	pid = fork();
	if (!pid)
		return read(ends[0], &byte, 1) != 1;
	pause_ns(SLEEP_NS);
	kill(pid, SIGKILL);
	return waitpid(pid, NULL, 0) != pid;
}

static int reuse(long n)
{
	int last = open("/proc/sys/kernel/ns_last_pid", O_WRONLY), first = 0, wrong = 0;
	char text[16];

	for (long i = 0; i < n && wrong < 100;) {
		char path[32];
		pid_t pid;

		if (first && pwrite(last, text, snprintf(text, sizeof(text), "%d", first - 1), 0) < 0)
			return 77;
		snprintf(path, sizeof(path), "process %ld", i);
		pid = fork();
		if (!pid)
			_exit(access(path, F_OK) == 0);
		waitpid(pid, NULL, 0);
		if (!first)
			first = pid;
		if (pid == first)
			i++;
		else	/* somebody else was faster */
			wrong++;
	}
	return wrong >= 100 ? 77 : 0;
}

static _Noreturn void serve(void)
{
	puts("ready");
	fflush(stdout);
	for (int i = 0;; i++) {
		syscall(SYS_getpriority, 88, i);
		pause_ns(10000000);
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "sleep"))
		return sleeps();
	if (!strcmp(what, "sockets"))
		return unix_sockets(argv[2]) || inet_sockets();
	if (!strcmp(what, "uring"))
		return uring(argv[2]);
	if (!strcmp(what, "threads"))
		return threads(atol(argv[2]));
	if (!strcmp(what, "exec"))
		return exec_in_thread(argv[0]);
	if (!strcmp(what, "outlive"))
		return outlive();
	if (!strcmp(what, "killed"))
		return killed();
	if (!strcmp(what, "reuse"))
		return reuse(atol(argv[2]));
	if (!strcmp(what, "serve"))
		serve();
	return 2;
}

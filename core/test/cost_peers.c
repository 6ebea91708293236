/* cost_peers HOW N: nanoseconds a getppid() with another way to interpose armed, the least of several rounds of N; for
 * bench/interpose_cost.py.
 *   sud_allow       syscall user dispatch, selector says allow
 *   sud_trap        syscall user dispatch, the handler makes the call
 *   seccomp_allow   a filter that allows everything
 *   seccomp_notify  a filter that asks a supervisor, which says: go on
 *   threads         N threads that sleep for a millisecond again and again, until standard input ends */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define ROUNDS 9
#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

static volatile char selector;

/* The one place from which calls are allowed while the selector blocks: the handler's return. */
void peer_restorer(void);
long peer_call(long nr);
extern const char peer_begin[], peer_end[];
__asm__(".text\n"
	"peer_begin:\n"
	"peer_restorer: mov $15, %eax; syscall\n"
	"peer_call: mov %rdi, %rax; syscall; ret\n"
	"	nop\n"
	"peer_end:\n");

static void on_sigsys(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)signal;
	uc->uc_mcontext.gregs[REG_RAX] = peer_call(info->si_syscall);
}

static int arm_sud(int trap)
{
	struct {
		void (*handler)(int, siginfo_t *, void *);
		unsigned long flags;
		void (*restorer)(void);
		uint64_t mask;
	} action = { on_sigsys, SA_SIGINFO | 0x04000000, peer_restorer, 0 };

	if (syscall(SYS_rt_sigaction, SIGSYS, &action, NULL, 8) < 0 ||
	    prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, peer_begin, peer_end - peer_begin, &selector) < 0)
		return -1;
	selector = (char)trap;
	return 0;
}

static void *supervise(void *argument)
{
	int fd = *(int *)argument;
	struct seccomp_notif ask;

	for (;;) {
		struct seccomp_notif_resp say = { 0 };

		memset(&ask, 0, sizeof(ask));
		if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &ask) < 0)
			return NULL;
		say.id = ask.id;
		say.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &say);
	}
}

static int arm_seccomp(int notify)
{
	static int fd;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, notify ? SECCOMP_RET_USER_NOTIF : SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };
	pthread_t thread;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, notify ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0, &program);
	if (fd < 0)
		return -1;
	return notify ? pthread_create(&thread, NULL, supervise, &fd) : 0;
}

static void *sleeper(void *forever)
{
	while (forever)
		usleep(1000);
	return NULL;
}

static int threads(long n)
{
	char c;

	for (long i = 1; i < n; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, sleeper, &n) != 0)
			return 1;
	}
	puts("ready");
	fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
	return 0;
}

static double now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

int main(int argc, char **argv)
{
	long n = argc > 2 ? atol(argv[2]) : 0;
	double best = 1e18;
	int r = -1;

	if (n <= 0)
		return 2;
	if (strcmp(argv[1], "threads") == 0)
		return threads(n);
	if (strcmp(argv[1], "sud_allow") == 0 || strcmp(argv[1], "sud_trap") == 0)
		r = arm_sud(argv[1][4] == 't');
	else if (strcmp(argv[1], "seccomp_allow") == 0 || strcmp(argv[1], "seccomp_notify") == 0)
		r = arm_seccomp(argv[1][8] == 'n');
	if (r != 0)
		return 77;
	for (int round = 0; round < ROUNDS; round++) {
		double start = now_ns(), took;

		for (long i = 0; i < n; i++)
			getppid();
		took = (now_ns() - start) / (double)n;
		best = took < best ? took : best;
	}
	selector = 0;
	printf("%.2f 0\n", best);
	return 0;
}

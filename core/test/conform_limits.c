/* What hems a program in, or watches it, does so as without us: filters, dispatchers, limits, tracers. */
#include "conform.h"

#include <asm/prctl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <ucontext.h>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

/* In Debian 12's libc the call instructions of getcontext and of the open that get_nprocs makes lie across the end of a
 * page. */
static void across_pages(void)
{
	ucontext_t context;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	SAY_CALL(sigprocmask(SIG_BLOCK, &set, NULL));
	SAY_CALL(getcontext(&context));
	say("  blocked %d %d\n", sigismember(&context.uc_sigmask, SIGUSR1), sigismember(&context.uc_sigmask, SIGUSR2));
	say("  %d processors\n", get_nprocs());
}

static int filter(unsigned nr, unsigned action)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -1 : prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static void answer(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)signal;
	uc->uc_mcontext.gregs[REG_RAX] = 4000 + info->si_syscall;
}

static void on_sigsys(void)
{
	struct sigaction action = { .sa_sigaction = answer, .sa_flags = SA_SIGINFO };

	sigemptyset(&action.sa_mask);
	sigaction(SIGSYS, &action, NULL);
}

static void trapped_by_a_filter(void)
{
	on_sigsys();
	SAY_CALL(filter(SYS_getppid, SECCOMP_RET_TRAP));
	say("  getppid %d, by number %ld\n", (int)getppid(), syscall(SYS_getppid));
	SAY_CALL(open("/nonexistent", O_RDONLY));
	say("  uid is %s\n", getuid() == geteuid() ? "the same" : "another");
}

static void *nothing(void *argument)
{
	return argument;
}

static void without_mprotect(void)
{
	pthread_t thread;
	void *more[64];
	int status;

	SAY_CALL(filter(SYS_mprotect, SECCOMP_RET_ERRNO | EPERM));
	for (unsigned i = 0; i < 64; i++)
		more[i] = malloc(10000 * (i + 1));
	for (unsigned i = 0; i < 64; i++)
		free(more[i]);
	say("  a thread: %s\n", strerrorname_np(pthread_create(&thread, NULL, nothing, NULL)));
	if (fork() == 0) {
		SAY_CALL(write(1, "", 0));
		_exit(3);
	}
	wait(&status);
	say_status("a child", status);
}

static volatile char selector;

static void dispatched(int signal, siginfo_t *info, void *context)
{
	selector = 0;
	answer(signal, info, context);
}

/* Its own user dispatch: blocked once, the handler opens it again. */
static void its_own_dispatch(void)
{
	struct sigaction action = { .sa_sigaction = dispatched, .sa_flags = SA_SIGINFO };
	long r;

	sigemptyset(&action.sa_mask);
	sigaction(SIGSYS, &action, NULL);
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &selector) < 0) {
		say("  not on this kernel\n");
		return;
	}
	selector = 1;
	r = getppid();
	say("  getppid %ld\n", r);
	selector = 1;
	r = syscall(SYS_getpgid, 0);
	say("  getpgid %ld\n", r);
}

static void address_space(void)
{
	struct rlimit limit = { 80u << 20, 80u << 20 };
	char *const argv[] = { "true", NULL };
	int status;

	SAY_CALL(setrlimit(RLIMIT_AS, &limit));
	say("  malloc of 200 MB %s, of 1 MB %s\n", malloc(200u << 20) ? "works" : "fails", malloc(1u << 20) ? "works" : "fails");
	if (fork() == 0) {
		execv("/bin/true", argv);
		_exit(99);
	}
	wait(&status);
	say_status("true in it", status);
}

static void traced(void)
{
	char *const argv[] = { "sh", "-c", "exit 6", NULL };
	unsigned stops = 0;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		execv("/bin/sh", argv);
		_exit(99);
	}
	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		stops++;
		ptrace(PTRACE_CONT, pid, 0, WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status));
	}
	say("  %u stops\n", stops);
	say_status("traced", status);
	pid = fork();
	if (pid == 0) {
		SAY_CALL(ptrace(PTRACE_TRACEME, 0, 0, 0));
		SAY_CALL(ptrace(PTRACE_TRACEME, 0, 0, 0));
		_exit(0);
	}
	waitpid(pid, &status, 0);
}

static void killed(void)
{
	int status, fd = open("/dev/null", O_WRONLY);
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			if (write(fd, "x", 1) != 1)
				_exit(1);
	usleep(20000);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	say_status("by SIGKILL", status);
}

static void gs_base(void)
{
	static uint64_t mine[2] = { 42, 0 };
	uint64_t value, base;

	SAY_CALL(syscall(SYS_arch_prctl, ARCH_SET_GS, mine));
	getppid();
	SAY_CALL(close(-1));
	__asm__ volatile("mov %%gs:0, %0" : "=r"(value));
	syscall(SYS_arch_prctl, ARCH_GET_GS, &base);
	say("  at gs: %lu, base %s\n", value, base == (uint64_t)mine ? "kept" : "changed");
}

static const struct check checks[] = {
	{ "instructions_across_pages", across_pages },
	{ "sigsys_from_a_filter", trapped_by_a_filter },
	{ "filter_without_mprotect", without_mprotect },
	{ "its_own_user_dispatch", its_own_dispatch },
	{ "rlimit_as", address_space },
	{ "traced_by_its_parent", traced },
	{ "killed", killed },
	{ "gs_base", gs_base },
};

CONFORM_MAIN(checks)

/* Signals arrive, restart, interrupt and fault as they do without us. */
#include "conform.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>

static volatile sig_atomic_t caught;
static sigjmp_buf out;

static void count(int signal)
{
	(void)signal;
	caught++;
}

static void handle(int signal, void (*handler)(int), int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };

	sigemptyset(&action.sa_mask);
	sigaction(signal, &action, NULL);
}

static void soon(void)
{
	struct itimerval timer = { { 0, 0 }, { 0, 20000 } };

	setitimer(ITIMER_REAL, &timer, NULL);
}

static int pipe_end(void)
{
	int ends[2];

	return pipe(ends) < 0 ? -1 : ends[0];
}

static void interrupted(void)
{
	char c;
	int fd = pipe_end();
	struct pollfd p = { fd, POLLIN, 0 };
	struct timespec ts = { 5, 0 };

	handle(SIGALRM, count, 0);
	soon();
	SAY_CALL(read(fd, &c, 1));
	soon();
	SAY_CALL(poll(&p, 1, 5000));
	soon();
	SAY_CALL(nanosleep(&ts, &ts));
	soon();
	SAY_CALL(pause());
	soon();
	SAY_CALL(open("/tmp/conform-fifo-that-is-not", O_RDONLY));
	say("  caught %d\n", caught >= 4);
}

static int to_feed;

static void feed(int signal)
{
	(void)signal;
	if (write(to_feed, "x", 1) != 1)
		_exit(3);
}

static void restarted(void)
{
	int ends[2];
	char c;

	if (pipe(ends) < 0)
		return;
	to_feed = ends[1];
	handle(SIGALRM, feed, SA_RESTART);
	soon();
	SAY_CALL(read(ends[0], &c, 1));
	say("  read %c\n", c);
}

static void jump(int signal)
{
	siglongjmp(out, signal);
}

static void jumped(void)
{
	char c;
	int fd = pipe_end();

	handle(SIGALRM, jump, 0);
	for (int i = 0; i < 3; i++) {
		if (sigsetjmp(out, 1) == 0) {
			soon();
			SAY_CALL(read(fd, &c, 1));
		} else {
			say("  jumped out of read\n");
		}
	}
	SAY_CALL(getppid());
}

static void nested_inner(int signal)
{
	(void)signal;
	getppid();
	caught += 10;
}

static void nested_outer(int signal)
{
	(void)signal;
	getppid();
	raise(SIGUSR2);
	getppid();
	caught++;
}

static void nested(void)
{
	handle(SIGUSR1, nested_outer, 0);
	handle(SIGUSR2, nested_inner, 0);
	for (int i = 0; i < 3; i++)
		raise(SIGUSR1);
	say("  caught %d\n", (int)caught);
}

static char *fault_address;
static char alternate[65536];

static void fault_info(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	char here;

	say("  signal %d code %d address %s, error %llx, on the alternate stack %d, mask holds USR1 %d\n", signal,
	    info->si_code, info->si_addr == fault_address ? "right" : "wrong",
	    (unsigned long long)uc->uc_mcontext.gregs[REG_ERR] & 7,
	    &here >= alternate && &here < alternate + sizeof(alternate), sigismember(&uc->uc_sigmask, SIGUSR1));
	siglongjmp(out, 1);
}

static void faulting(int signal, char *at, int flags)
{
	struct sigaction action = { .sa_sigaction = fault_info, .sa_flags = SA_SIGINFO | flags }, old;
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof(alternate) };

	sigaltstack(&stack, NULL);
	sigemptyset(&action.sa_mask);
	sigaddset(&action.sa_mask, SIGUSR2);
	sigaction(signal, &action, NULL);
	sigaction(signal, NULL, &old);
	say("  own handler %d, flags %x, mask %d %d\n", old.sa_sigaction == fault_info, old.sa_flags & ~0x04000000,
	    sigismember(&old.sa_mask, SIGUSR2), sigismember(&old.sa_mask, SIGUSR1));
	fault_address = at;
	if (sigsetjmp(out, 1) == 0)
		*(volatile char *)at = 1;
	else
		say("  jumped out\n");
}

static void segv(void)
{
	faulting(SIGSEGV, (char *)64, 0);
	faulting(SIGSEGV, (char *)64, SA_ONSTACK);
	faulting(SIGSEGV, (char *)64, SA_ONSTACK | SA_NODEFER);
}

static void bus(void)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
	char *at;

	if (ftruncate(fd, 4096) < 0)
		return;
	at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	faulting(SIGBUS, at + 4096, 0);
	faulting(SIGBUS, at + 4096, SA_ONSTACK);
}

static void reset_hand(void)
{
	struct sigaction old;

	faulting(SIGSEGV, (char *)64, SA_RESETHAND);
	sigaction(SIGSEGV, NULL, &old);
	say("  default afterwards %d\n", old.sa_handler == SIG_DFL);
	*(volatile char *)64 = 1;
}

static volatile int depth;

static int overflow(int n)
{
	volatile char frame[4096];

	frame[0] = (char)n;
	depth = n;
	return overflow(n + 1) + frame[0];
}

static void overflowed(int signal)
{
	say("  signal %d on the alternate stack\n", signal);
	_exit(7);
}

static void stack_overflow(void)
{
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof(alternate) };
	struct rlimit limit = { 1 << 20, 1 << 20 };

	setrlimit(RLIMIT_STACK, &limit);
	sigaltstack(&stack, NULL);
	handle(SIGSEGV, overflowed, SA_ONSTACK);
	overflow(0);
}

static void default_segv(void)
{
	*(volatile char *)64 = 1;
}

static void default_segv_sent(void)
{
	kill(getpid(), SIGSEGV);
	say("  still here\n");
}

static void ignored_segv(void)
{
	struct sigaction old;

	signal(SIGSEGV, SIG_IGN);
	kill(getpid(), SIGSEGV);
	raise(SIGSEGV);
	sigaction(SIGSEGV, NULL, &old);
	say("  ignored %d\n", old.sa_handler == SIG_IGN);
	signal(SIGBUS, SIG_IGN);
	say("  before %d\n", signal(SIGBUS, SIG_DFL) == SIG_IGN);
	*(volatile char *)64 = 1;
}

/* What exec'd programs inherit: ignored stays ignored, caught becomes default. (/proc/self/status would show our handlers.) */
static void over_exec(void)
{
	signal(SIGSEGV, SIG_IGN);
	signal(SIGBUS, count);
	execl("/bin/sh", "sh", "-c", "kill -SEGV $$; echo '  ignored'; kill -BUS $$", NULL);
}

static void over_system(void)
{
	signal(SIGSEGV, SIG_IGN);
	say("  %d\n", system("kill -SEGV $$; echo '  ignored'"));
	signal(SIGSEGV, SIG_DFL);
	say("  %d\n", system("kill -SEGV $$; echo '  ignored'"));
}

static void blocked(void)
{
	sigset_t set, pending;

	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	sigaddset(&set, SIGUSR1);
	handle(SIGSEGV, count, 0);
	handle(SIGUSR1, count, 0);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise(SIGSEGV);
	raise(SIGUSR1);
	sigpending(&pending);
	say("  pending %d %d, caught %d\n", sigismember(&pending, SIGSEGV), sigismember(&pending, SIGUSR1), (int)caught);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	say("  caught %d\n", (int)caught);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGSEGV, SIG_DFL);
	*(volatile char *)64 = 1;
}

static void suspended(void)
{
	sigset_t none, usr1;

	handle(SIGUSR1, count, 0);
	sigemptyset(&none);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	raise(SIGUSR1);
	SAY_CALL(sigsuspend(&none));
	raise(SIGUSR1);
	struct timespec zero = { 0, 0 };
	SAY_CALL(sigtimedwait(&usr1, NULL, &zero));
	say("  caught %d\n", (int)caught);
}

static volatile bool stop;

static void *storm(void *main_thread)
{
	while (!stop) {
		pthread_kill(*(pthread_t *)main_thread, SIGUSR1);
		usleep(50);
	}
	return NULL;
}

static void in_handler(int signal)
{
	char c[8];
	int saved = errno, fd = open("/dev/zero", O_RDONLY);

	(void)signal;
	if (read(fd, c, sizeof(c)) != sizeof(c))
		_exit(4);
	close(fd);
	caught++;
	errno = saved;
}

static void storms(void)
{
	pthread_t self = pthread_self(), thread;
	long wrong = 0;
	char c[8];

	handle(SIGUSR1, in_handler, SA_RESTART);
	pthread_create(&thread, NULL, storm, &self);
	for (int i = 0; i < 100000 || caught < 100; i++) {
		int fd;

		wrong += getppid() <= 0;
		if (i % 16)
			continue;
		fd = open("/dev/zero", O_RDONLY);
		wrong += read(fd, c, 8) != 8;
		wrong += close(fd) != 0;
		wrong += close(fd) == 0 || errno != EBADF;
	}
	stop = true;
	pthread_join(thread, NULL);
	say("  wrong %ld\n", wrong);
}

/* --- actions that are set to what they are, or were -------------------------------------------------------------- */

static volatile int ran;

static void on_run(int signal)
{
	ran += signal;
}

static void set_and_raise(const char *when, void (*handler)(int), int flags, int mask)
{
	struct sigaction act = { .sa_handler = handler, .sa_flags = flags }, old, now;

	if (mask)
		sigaddset(&act.sa_mask, mask);
	for (int i = 0; i < 2; i++) {
		SAY_CALL(sigaction(SIGUSR1, &act, &old));
		say("  old: %s %x, %d\n", old.sa_handler == on_run ? "ours" : old.sa_handler == SIG_DFL ? "default" : "another",
		    old.sa_flags, sigismember(&old.sa_mask, SIGUSR2));
	}
	if (handler != SIG_DFL)
		raise(SIGUSR1);
	sigaction(SIGUSR1, NULL, &now);
	say("  %s: ran %d, is %s %x\n", when, ran, now.sa_handler == on_run ? "ours" : "another", now.sa_flags);
}

static int child_sets(void *unused)
{
	(void)unused;
	signal(SIGUSR1, SIG_IGN);
	return 0;
}

static void *thread_sets(void *unused)
{
	child_sets(unused);
	return NULL;
}

static void repeated_actions(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	const int kinds[] = { CLONE_VFORK | CLONE_VM, CLONE_VFORK | CLONE_VM | CLONE_SIGHAND, CLONE_VM, CLONE_VM | CLONE_SIGHAND, 0 };
	sigset_t set, waiting;
	pthread_t thread;

	set_and_raise("at first", on_run, 0, 0);
	set_and_raise("with other flags", on_run, SA_RESTART, 0);
	set_and_raise("with another mask", on_run, SA_RESTART, SIGUSR2);
	set_and_raise("for once", on_run, SA_RESETHAND, 0);
	set_and_raise("for once, again", on_run, SA_RESETHAND, 0);
	set_and_raise("for good", on_run, 0, 0);
	pthread_create(&thread, NULL, thread_sets, NULL);
	pthread_join(thread, NULL);
	set_and_raise("after a thread", on_run, 0, 0);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		int status;
		pid_t pid = clone(child_sets, stack + sizeof(stack), kinds[i] | SIGCHLD, NULL);

		waitpid(pid, &status, 0);
		set_and_raise("after a child", on_run, 0, 0);
	}
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < 2; i++) {
		signal(SIGUSR1, SIG_IGN);
		sigpending(&waiting);
		say("  waits %d\n", sigismember(&waiting, SIGUSR1));
		raise(SIGUSR1);
		sigpending(&waiting);
		say("  waits %d\n", sigismember(&waiting, SIGUSR1));
	}
	if (fork() == 0) {
		set_and_raise("in a child", on_run, 0, 0);
		_exit(0);
	}
	wait(NULL);
}

static const struct check checks[] = {
	{ "interrupted_calls", interrupted },
	{ "restarted_calls", restarted },
	{ "longjmp_from_handler", jumped },
	{ "nested_handlers", nested },
	{ "sigsegv_handler", segv },
	{ "sigbus_handler", bus },
	{ "sa_resethand", reset_hand },
	{ "stack_overflow", stack_overflow },
	{ "sigsegv_default", default_segv },
	{ "sigsegv_sent", default_segv_sent },
	{ "sigsegv_ignored", ignored_segv },
	{ "dispositions_over_exec", over_exec },
	{ "dispositions_over_system", over_system },
	{ "blocked_signals", blocked },
	{ "sigsuspend", suspended },
	{ "signal_storm", storms },
	{ "repeated_actions", repeated_actions },
};

CONFORM_MAIN(checks)

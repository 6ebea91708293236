/* Handlers of signals that come at any moment, within a rule's own work too, find and leave everything as without us. */
#include "conform.h"

#include <pthread.h>
#include <setjmp.h>
#include <spawn.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <sys/ucontext.h>
#include <time.h>

#define LINES 40

extern char **environ;

static volatile sig_atomic_t caught, wrong_in_handler;
static volatile sig_atomic_t handled;	/* by whichever handler: who sends waits for it */
static volatile bool stop;

static void count(int signal)
{
	(void)signal;
	caught++;
	handled++;
}

static void other(int signal)
{
	(void)signal;
	caught += 100;
	handled++;
}

static void handle(int signal, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags };

	sigemptyset(&action.sa_mask);
	sigaddset(&action.sa_mask, SIGUSR2);
	sigaction(signal, &action, NULL);
}

/* A path that no other process uses at the same time. */
static const char *own_path(void)
{
	static __thread char path[64];

	snprintf(path, sizeof(path), "/tmp/conform-handlers-%d", gettid());
	return path;
}

/* Small writes to a file, gathered or not, and reads of what must be there. Returns what came out wrong. */
static long write_and_read(const char *path)
{
	char line[16], back[16 * LINES];
	long wrong = 0;
	struct stat st;
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600), other_fd;

	for (int i = 0; i < LINES; i++) {
		snprintf(line, sizeof(line), "%014d\n", i);
		wrong += write(fd, line, 15) != 15;
	}
	wrong += fstat(fd, &st) != 0 || st.st_size != 15 * LINES;
	wrong += lseek(fd, 0, SEEK_SET) != 0;
	wrong += read(fd, back, sizeof(back)) != 15 * LINES || memcmp(back + 15 * 7, "00000000000007\n", 15) != 0;
	wrong += pwrite(fd, "x", 1, 3) != 1;
	other_fd = open(path, O_RDONLY);
	wrong += read(other_fd, back, 4) != 4 || back[3] != 'x';
	wrong += close(other_fd) != 0;
	wrong += ftruncate(fd, 5) != 0;
	wrong += close(fd) != 0;
	return wrong;
}

static void work(int rounds)
{
	long wrong = 0;

	for (int i = 0; i < rounds; i++)
		wrong += write_and_read(own_path());
	unlink(own_path());
	say("  wrong %ld, in handlers %d\n", wrong, (int)wrong_in_handler);
}

/* --- who sends --- */

static pthread_t target, sender;
static int what_to_send;

static void wait_for_handler(int before)
{
	while (handled == before && !stop)
		usleep(10);
	usleep(30);
}

static void *send_often(void *arg)
{
	while (!stop) {
		int before = handled;

		pthread_kill(target, what_to_send);
		wait_for_handler(before);
	}
	return arg;
}

static void send_to_me(int signal, void *(*how)(void *))
{
	sigset_t all, before;

	target = pthread_self();
	what_to_send = signal;
	stop = false;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);	/* for the sender, which inherits it */
	pthread_create(&sender, NULL, how, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void send_no_more(void)
{
	stop = true;
	pthread_join(sender, NULL);
}

/* --- what the program is told of its actions --- */

static void actions_are_told_as_set(void)
{
	static const int flags[] = { 0, SA_RESTART, SA_SIGINFO | SA_NODEFER, SA_RESETHAND, SA_RESETHAND | SA_SIGINFO | SA_RESTART,
				     SA_ONSTACK, SA_NOCLDSTOP | SA_NOCLDWAIT };
	struct { uint64_t handler, flags, restorer, mask; } set, before, now;

	for (int signal = 1; signal <= 64; signal++) {
		long wrong = 0;

		if (signal == SIGKILL || signal == SIGSTOP)
			continue;
		syscall(SYS_rt_sigaction, signal, NULL, &before, 8);
		for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
			set.handler = (uint64_t)(i % 2 ? count : other);
			set.flags = (uint64_t)(unsigned)flags[i] | 0x04000000;
			set.restorer = 0x1000 + i;
			set.mask = 1ull << (i + 20);
			wrong += syscall(SYS_rt_sigaction, signal, &set, &now, 8) != 0 || memcmp(&now, &before, sizeof(now)) != 0;
			wrong += syscall(SYS_rt_sigaction, signal, NULL, &now, 8) != 0 || memcmp(&now, &set, sizeof(now)) != 0;
			before = set;
		}
		set.handler = (uint64_t)SIG_IGN;
		wrong += syscall(SYS_rt_sigaction, signal, &set, &now, 8) != 0 || memcmp(&now, &before, sizeof(now)) != 0;
		set.handler = (uint64_t)SIG_DFL;
		wrong += syscall(SYS_rt_sigaction, signal, &set, &now, 8) != 0 || now.handler != (uint64_t)SIG_IGN;
		if (wrong)
			say("  signal %d: wrong %ld\n", signal, wrong);
	}
}

static void errors(void)
{
	struct { uint64_t handler, flags, restorer, mask; } set = { (uint64_t)count, SA_RESTART, 0, 0 }, now;
	void *nowhere = (void *)64;

	SAY_CALL(syscall(SYS_rt_sigaction, SIGKILL, &set, NULL, 8));
	SAY_CALL(syscall(SYS_rt_sigaction, SIGKILL, NULL, &now, 8));
	SAY_CALL(syscall(SYS_rt_sigaction, 0, &set, NULL, 8));
	SAY_CALL(syscall(SYS_rt_sigaction, 65, &set, NULL, 8));
	SAY_CALL(syscall(SYS_rt_sigaction, SIGUSR1, &set, NULL, 16));
	SAY_CALL(syscall(SYS_rt_sigaction, SIGUSR1, nowhere, NULL, 8));
	SAY_CALL(syscall(SYS_rt_sigaction, SIGUSR1, NULL, nowhere, 8));
	SAY_CALL(syscall(SYS_rt_sigaction, SIGUSR1, &set, nowhere, 8));	/* it is set all the same */
	SAY_CALL(syscall(SYS_rt_sigaction, SIGUSR1, NULL, &now, 8));
	say("  set %d\n", now.handler == (uint64_t)count);
}

/* As many as a program that makes its handlers at run time has. */
static void more_handlers_than_one_thinks(void)
{
	enum { MANY = 300, ROOM = 16 };
	static const uint8_t code[ROOM] = { 0x48, 0x8b, 0x05, 0x01, 0, 0, 0, 0xc3 };	/* mov 1(%rip), %rax; ret */
	char *page = mmap(NULL, MANY * ROOM, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sigaction old;
	long wrong = 0;

	for (int i = 0; i < MANY; i++) {
		memcpy(page + i * ROOM, code, ROOM);
		signal(SIGUSR1, (void (*)(int))(uint64_t)(page + i * ROOM));
		raise(SIGUSR1);
		sigaction(SIGUSR1, NULL, &old);
		wrong += old.sa_handler != (void (*)(int))(uint64_t)(page + i * ROOM);
	}
	signal(SIGUSR1, count);
	raise(SIGUSR1);
	say("  wrong %ld, caught %d\n", wrong, (int)caught);
	work(20);
}

static void ask_and_count(int signal)
{
	struct sigaction now;

	sigaction(signal, NULL, &now);
	say("  in the handler: default %d, flags %x\n", now.sa_handler == SIG_DFL, now.sa_flags & ~0x04000000);
	caught++;
}

static void once_only(void)
{
	struct sigaction action = { .sa_handler = ask_and_count, .sa_flags = SA_RESETHAND };

	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
	say("  caught %d\n", (int)caught);
	raise(SIGUSR1);
	say("  not reached\n");
}

static void once_and_set_again(int signal)
{
	struct sigaction action = { .sa_handler = once_and_set_again, .sa_flags = SA_RESETHAND };

	caught++;
	sigaction(signal, &action, NULL);
}

/* --- what comes within the work of a rule --- */

static void write_in_handler(int signal, siginfo_t *info, void *context)
{
	static int nesting;
	char path[64];

	(void)context;
	wrong_in_handler += info->si_signo != signal || info->si_pid != getpid() || info->si_code != SI_TKILL;
	if (nesting)
		return;
	nesting++;
	snprintf(path, sizeof(path), "/tmp/conform-in-handler-%d", getpid());
	wrong_in_handler += write_and_read(path) != 0;
	unlink(path);
	nesting--;
	caught++;
	handled++;
}

static void calls_in_handlers(void)
{
	handle(SIGUSR1, write_in_handler, SA_RESTART);
	send_to_me(SIGUSR1, send_often);
	work(40);
	send_no_more();
	handle(SIGUSR1, write_in_handler, SA_RESTART | SA_NODEFER);
	send_to_me(SIGUSR1, send_often);
	work(20);
	send_no_more();
	handle(SIGUSR1, write_in_handler, 0);
	send_to_me(SIGUSR1, send_often);
	work(20);
	send_no_more();
}

static void handlers_for_one_signal(void)
{
	signal(SIGUSR1, SIG_IGN);
	once_and_set_again(SIGUSR1);
	for (int i = 0; i < 50; i++)
		raise(SIGUSR1);
	say("  caught %d\n", (int)caught);
	work(20);
}

/* Each is sent when the one before has been caught: none may be lost, none come twice, each with what it was sent with. */
static volatile sig_atomic_t last_value;

static void take_value(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	sigset_t now;

	sigprocmask(SIG_BLOCK, NULL, &now);
	wrong_in_handler += info->si_code != SI_QUEUE || info->si_value.sival_int != last_value + 1;
	wrong_in_handler += !sigismember(&now, signal) || !sigismember(&now, SIGUSR2) || sigismember(&now, SIGHUP);
	wrong_in_handler += sigismember(&uc->uc_sigmask, signal) || sigismember(&uc->uc_sigmask, SIGUSR2);
	caught++;
	last_value = info->si_value.sival_int;
}

static void *send_in_turn(void *arg)
{
	for (int i = 1; i <= 300; i++) {
		pthread_sigqueue(target, what_to_send, (union sigval){ .sival_int = i });
		while (last_value != i)
			sched_yield();
	}
	stop = true;
	return arg;
}

static void each_signal_comes_once(void)
{
	for (int round = 0; round < 3; round++) {
		static const int signals[] = { SIGUSR1, SIGCHLD, 40 };

		caught = last_value = 0;
		handle(signals[round], take_value, SA_RESTART);
		send_to_me(signals[round], send_in_turn);
		while (!stop)
			write_and_read(own_path());
		pthread_join(sender, NULL);
		unlink(own_path());
		say("  caught %d, wrong %d\n", (int)caught, (int)wrong_in_handler);
	}
}

/* Real-time signals are queued, and come in their order. */
static void *send_in_bursts(void *arg)
{
	for (int i = 1; i <= 800; i += 8) {
		for (int j = 0; j < 8; j++)
			pthread_sigqueue(target, what_to_send, (union sigval){ .sival_int = i + j });
		while (last_value < i + 7)
			sched_yield();
	}
	stop = true;
	return arg;
}

static void queued_signals_keep_their_order(void)
{
	handle(SIGRTMIN + 2, take_value, SA_RESTART);
	send_to_me(SIGRTMIN + 2, send_in_bursts);
	while (!stop)
		write_and_read(own_path());
	pthread_join(sender, NULL);
	unlink(own_path());
	say("  caught %d, wrong %d\n", (int)caught, (int)wrong_in_handler);
}

static sigjmp_buf out;
static volatile sig_atomic_t may_jump;

static void jump(int signal)
{
	caught++;
	handled++;
	if (may_jump) {
		may_jump = 0;
		siglongjmp(out, signal);
	}
}

static void jumps_out_of_calls(void)
{
	struct sigaction action = { .sa_handler = jump };
	volatile int jumps = 0;
	sigset_t now;

	sigaction(SIGUSR1, &action, NULL);
	send_to_me(SIGUSR1, send_often);
	while (jumps < 120) {
		if (sigsetjmp(out, 1) == 0) {
			int fd = open(own_path(), O_RDWR | O_CREAT | O_TRUNC, 0600);

			may_jump = 1;
			for (int i = 0; may_jump; i++) {
				if (write(fd, "0123456789", 10) < 0 && errno != EINTR)
					say("  write: %s\n", strerrorname_np(errno));
				lseek(fd, 0, SEEK_CUR);
			}
		}
		jumps++;
		closefrom(3);
	}
	send_no_more();
	sigprocmask(SIG_BLOCK, NULL, &now);
	say("  jumps %d, blocked %d\n", jumps, sigismember(&now, SIGUSR1) || sigismember(&now, SIGTERM));
	unlink(own_path());
	work(20);
}

static char alternate[65536];

static bool on_alternate(const void *at)
{
	return (const char *)at >= alternate && (const char *)at < alternate + sizeof(alternate);
}

static void must_be_on_alternate(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	wrong_in_handler += !on_alternate(&info) || !on_alternate(info);
	handled++;
}

static void must_not_be_on_alternate(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	wrong_in_handler += on_alternate(&info) || on_alternate(info);
	handled++;
}

static void on_the_stack_that_was_asked_for(void)
{
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof(alternate) };

	sigaltstack(&stack, NULL);
	handle(SIGUSR1, must_be_on_alternate, SA_ONSTACK | SA_RESTART);
	send_to_me(SIGUSR1, send_often);
	work(40);
	send_no_more();
	handle(SIGUSR1, must_not_be_on_alternate, SA_RESTART);
	send_to_me(SIGUSR1, send_often);
	work(40);
	send_no_more();
}

/* Vector registers, which the runtime must not touch, and the mask that a handler leaves behind. */
static void block_hup(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)signal;
	(void)info;
	__asm__ volatile("pxor %%xmm7, %%xmm7; pxor %%xmm0, %%xmm0" : : : "xmm0", "xmm7");
	sigaddset(&uc->uc_sigmask, SIGHUP);
	caught = 1;
	handled++;
}

static void what_a_handler_leaves(void)
{
	sigset_t now, hup;
	long unblocked = 0;

	sigemptyset(&hup);
	sigaddset(&hup, SIGHUP);
	handle(SIGUSR1, block_hup, SA_RESTART);
	send_to_me(SIGUSR1, send_often);
	for (int i = 0; i < 100; i++) {
		caught = 0;
		while (!caught)
			write_and_read(own_path());
		sigprocmask(SIG_BLOCK, NULL, &now);
		unblocked += !sigismember(&now, SIGHUP);
		sigprocmask(SIG_UNBLOCK, &hup, NULL);
	}
	send_no_more();
	unlink(own_path());
	say("  not blocked %ld\n", unblocked);
}

static int order[64], n_order;

static void note(int signal)
{
	order[n_order++] = signal;
}

/* Those that may be held back whatever engine there is, and that the C library leaves alone. */
static bool can_be_held_back(int signal)
{
	return signal != SIGKILL && signal != SIGSTOP && signal != SIGSEGV && signal != SIGBUS && signal != SIGSYS && signal != 32 &&
	       signal != 33;
}

static void many_at_once(void)
{
	sigset_t all, before;

	for (int signal = 1; signal < 64; signal++)
		if (can_be_held_back(signal)) {
			struct sigaction action = { .sa_handler = note };

			sigaction(signal, &action, NULL);
		}
	for (int round = 0; round < 2; round++) {
		sigfillset(&all);
		sigprocmask(SIG_BLOCK, &all, &before);
		for (int signal = 63; signal > 0; signal--)
			if (can_be_held_back(signal))
				raise(signal);
		sigprocmask(SIG_SETMASK, &before, NULL);
		for (int i = 0; i < n_order; i++)
			say(" %d", order[i]);
		say("\n");
		n_order = 0;
	}
}

/* Several kinds at once, while a rule works: each of them interrupts the others. */
static void *send_many(void *arg)
{
	static const int signals[] = { SIGUSR1, SIGUSR2, SIGHUP, SIGIO, SIGWINCH, SIGURG, SIGPROF, SIGVTALRM };

	while (!stop) {
		int before = handled;

		for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
			pthread_kill(target, signals[i]);
		wait_for_handler(before);
	}
	return arg;
}

static void several_kinds(void)
{
	static const int signals[] = { SIGUSR1, SIGUSR2, SIGHUP, SIGIO, SIGWINCH, SIGURG, SIGPROF, SIGVTALRM };
	sigset_t before, after;

	for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		handle(signals[i], write_in_handler, i % 2 ? SA_RESTART : SA_RESTART | SA_NODEFER);
	sigprocmask(SIG_BLOCK, NULL, &before);
	send_to_me(0, send_many);
	work(40);
	send_no_more();
	sigprocmask(SIG_BLOCK, NULL, &after);
	say("  mask as before %d\n", memcmp(&before, &after, 8) == 0);
}

/* --- other processes --- */

static void sent_faults(void)
{
	handle(SIGSEGV, write_in_handler, SA_RESTART);
	handle(SIGBUS, write_in_handler, SA_RESTART);
	send_to_me(SIGSEGV, send_often);
	work(20);
	send_no_more();
	send_to_me(SIGBUS, send_often);
	work(20);
	send_no_more();
}

static void vfork_child_has_actions_of_its_own(void)
{
	struct sigaction now;
	pid_t pid;
	int status;

	signal(SIGUSR1, count);
	signal(SIGUSR2, count);
	pid = vfork();
	if (pid == 0) {
		signal(SIGUSR1, other);
		signal(SIGUSR2, SIG_IGN);
		kill(getpid(), SIGUSR1);
		kill(getpid(), SIGUSR2);
		sigaction(SIGUSR1, NULL, &now);
		_exit(now.sa_handler == other ? 5 : 6);
	}
	waitpid(pid, &status, 0);
	say_status("child", status);
	say("  caught %d\n", (int)caught);	/* in this memory */
	raise(SIGUSR1);
	raise(SIGUSR2);
	sigaction(SIGUSR1, NULL, &now);
	say("  caught %d, own handler %d\n", (int)caught, now.sa_handler == count);
}

static void spawned_child_has_defaults(void)
{
	char *words[] = { "sh", "-c", "kill -USR1 $$; echo '  not reached'", NULL };
	posix_spawnattr_t attributes;
	sigset_t usr1;
	pid_t pid;
	int status;

	signal(SIGUSR1, count);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigdefault(&attributes, &usr1);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
	posix_spawn(&pid, "/bin/sh", NULL, &attributes, words, environ);
	waitpid(pid, &status, 0);
	say_status("child", status);
}

static void forks_between_signals(void)
{
	long wrong = 0;

	handle(SIGUSR1, write_in_handler, SA_RESTART);
	send_to_me(SIGUSR1, send_often);
	for (int i = 0; i < 30; i++) {
		pid_t pid = fork();
		int status;

		if (pid == 0) {
			sigset_t now;

			sigprocmask(SIG_BLOCK, NULL, &now);
			caught = 0;
			if (sigismember(&now, SIGUSR1) || sigismember(&now, SIGTERM))
				_exit(1);
			raise(SIGUSR1);
			_exit(caught == 1 ? 0 : 2);
		}
		write_and_read(own_path());
		while (waitpid(pid, &status, 0) < 0)
			;
		wrong += status != 0;
	}
	send_no_more();
	unlink(own_path());
	say("  wrong %ld, in handlers %d\n", wrong, (int)wrong_in_handler);
}

static void waited_for_and_read(void)
{
	struct signalfd_siginfo read_one;
	siginfo_t info;
	sigset_t usr1;
	int fd;

	signal(SIGUSR1, count);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_int = 7 });
	say("  waited for %d", sigwaitinfo(&usr1, &info));
	say(" value %d\n", info.si_value.sival_int);
	sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_int = 8 });
	fd = signalfd(-1, &usr1, 0);
	say("  read %d", read(fd, &read_one, sizeof(read_one)) == sizeof(read_one));
	say(" value %d, caught %d\n", read_one.ssi_int, (int)caught);
}

static void timers(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec often = { { 0, 60000 }, { 0, 60000 } };
	struct itimerval alarm = { { 0, 70 }, { 0, 70 } };
	timer_t timer;

	signal(SIGUSR1, count);
	signal(SIGALRM, count);
	timer_create(CLOCK_MONOTONIC, &event, &timer);
	timer_settime(timer, 0, &often, NULL);
	setitimer(ITIMER_REAL, &alarm, NULL);
	work(60);
	timer_delete(timer);
	alarm = (struct itimerval){ 0 };
	setitimer(ITIMER_REAL, &alarm, NULL);
	say("  caught many %d\n", caught > 10);
}

static void *work_in_thread(void *arg)
{
	long wrong = 0;

	(void)arg;
	for (int i = 0; i < 100; i++)
		wrong += write_and_read(own_path());
	unlink(own_path());
	return (void *)wrong;
}

/* Handlers change while others are on their way to them. */
static void handlers_change(void)
{
	pthread_t threads[3];
	long wrong = 0;

	signal(SIGALRM, count);
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, work_in_thread, NULL);
	for (int i = 0; i < 20000; i++) {
		void (*before)(int) = signal(SIGALRM, i % 2 ? count : other);

		wrong += before != (i % 2 ? other : count) && i;
		if (i % 4 == 0)
			kill(getpid(), SIGALRM);
	}
	for (int i = 0; i < 3; i++) {
		void *in_thread;

		pthread_join(threads[i], &in_thread);
		wrong += (long)in_thread;
	}
	say("  wrong %ld\n", wrong);
}

static const struct check checks[] = {
	{ "actions_are_told_as_set", actions_are_told_as_set },
	{ "errors", errors },
	{ "more_handlers_than_one_thinks", more_handlers_than_one_thinks },
	{ "once_only", once_only },
	{ "handlers_for_one_signal", handlers_for_one_signal },
	{ "calls_in_handlers", calls_in_handlers },
	{ "each_signal_comes_once", each_signal_comes_once },
	{ "queued_signals_keep_their_order", queued_signals_keep_their_order },
	{ "jumps_out_of_calls", jumps_out_of_calls },
	{ "on_the_stack_that_was_asked_for", on_the_stack_that_was_asked_for },
	{ "what_a_handler_leaves", what_a_handler_leaves },
	{ "many_at_once", many_at_once },
	{ "several_kinds", several_kinds },
	{ "sent_faults", sent_faults },
	{ "vfork_child_has_actions_of_its_own", vfork_child_has_actions_of_its_own },
	{ "spawned_child_has_defaults", spawned_child_has_defaults },
	{ "forks_between_signals", forks_between_signals },
	{ "waited_for_and_read", waited_for_and_read },
	{ "timers", timers },
	{ "handlers_change", handlers_change },
};

CONFORM_MAIN(checks)

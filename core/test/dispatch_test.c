/* The dispatcher against the real kernel, without patches: calls are handed to ph_dispatch by hand, with one small
 * rule that gathers writes. Exit 0 when every check holds, 1 otherwise. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dispatch.h"
#include "guard.h"
#include "rule.h"

/* --- the engine's side, by libc --- */

int64_t ph_syscall(int64_t nr, int64_t a0, int64_t a1, int64_t a2, int64_t a3, int64_t a4, int64_t a5)
{
	int saved = errno;
	long r = syscall(nr, a0, a1, a2, a3, a4, a5);
	int64_t result = r == -1 ? -errno : r;

	errno = saved;
	return result;
}

static int64_t copy(void *to, const void *from, size_t n, int in)
{
	struct iovec ours = { (void *)(in ? to : from), n }, theirs = { (void *)(in ? from : to), n };
	ssize_t r;
	int saved = errno;

	/* Fast where it can't fail in these tests; by the kernel where a test hands in a bad address. */
	if ((uintptr_t)theirs.iov_base > 4096) {
		memcpy(to, from, n);
		return 0;
	}
	r = in ? process_vm_readv(getpid(), &ours, 1, &theirs, 1, 0) : process_vm_writev(getpid(), &ours, 1, &theirs, 1, 0);
	errno = saved;
	return r == (ssize_t)n ? 0 : -EFAULT;
}

int64_t ph_copy_in(void *to, const void *from, size_t n) { return copy(to, from, n, 1); }
int64_t ph_copy_out(void *to, const void *from, size_t n) { return copy(to, from, n, 0); }
uint64_t ph_self(void) { return (uint64_t)pthread_self(); }
int64_t ph_set_action(const int64_t a[6]) { return ph_syscall(SYS_rt_sigaction, a[0], a[1], a[2], a[3], 0, 0); }
void ph_signals_before(const int64_t a[6]) { (void)a; }
uint64_t ph_signals_kept(uint64_t mask) { return mask; }

void *ph_map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* --- a rule that gathers small writes, as the compiler would print it --- */

struct gather {
	struct ph_state head;
};

static bool gather_pending(struct ph_k *k, struct ph_state *f, int64_t fd)
{
	(void)k; (void)fd;
	return f->len > 0;
}

enum { NOWHERE, IN_WRITE, IN_SETTLE };
static volatile int fault;
static int *volatile no_memory;

static void fault_if(int where)
{
	if (fault == where)
		*no_memory = 0;
}

static int64_t gather_settle(struct ph_k *k, struct ph_state *f, int64_t fd)
{
	int64_t n = f->len;

	fault_if(IN_SETTLE);
	ph_buffer_clear(f);
	return ph_k_write_all(k, fd, f, n);
}

static int64_t gather_openat(struct ph_k *k, struct ph_state *none, const int64_t a[6])
{
	int64_t fd = ph_forward(k);

	(void)none;
	if (ph_ok(fd) && (a[2] & O_ACCMODE) == O_WRONLY)
		ph_file(k, fd);
	return fd;
}

static int64_t gather_write(struct ph_k *k, struct ph_state *f, const int64_t a[6])
{
	int64_t r;

	if (a[2] <= 0 || a[2] > 4096 || a[2] > ph_buffer_room(k, f)) {
		r = ph_settle(k, a[0]);
		return r < 0 ? r : ph_forward(k);
	}
	r = ph_buffer_append(k, f, a[1], a[2]);
	fault_if(IN_WRITE);
	if (r < 0) {
		r = ph_settle(k, a[0]);
		return r < 0 ? r : ph_forward(k);
	}
	ph_hit(k);
	return r;
}

static const struct ph_handles gather_handles[] = {
	{ SYS_openat, -1, 0, 0, gather_openat },
	{ SYS_write, 0, 1, 0, gather_write },
};
static const struct ph_rule gather = {
	.name = "gather", .digest = "", .state_bytes = sizeof(struct gather), .buffer_bytes = 65536,
	.pending = gather_pending, .settle = gather_settle, .handles = gather_handles, .n_handles = 2,
};
const struct ph_rule *const ph_rules[] = { &gather };
const uint32_t ph_n_rules = 1;

/* --- the checks --- */

static struct ph_control control;
static int failures;

#define CHECK(what) do { if (!(what)) { printf("line %d: %s\n", __LINE__, #what); failures++; } } while (0)

static int64_t do_call(int64_t nr, int64_t a0, int64_t a1, int64_t a2, int64_t a3)
{
	struct ph_call c = { .nr = nr, .a = { a0, a1, a2, a3 } };

	if (ph_answer(&c, &c.ret) || ph_dispatch(&c) == PH_ANSWERED)
		return c.ret;
	return ph_syscall(nr, a0, a1, a2, a3, 0, 0);
}

#define call(nr, a, b, c, d) do_call(nr, (int64_t)(a), (int64_t)(b), (int64_t)(c), (int64_t)(d))

static int64_t size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) ? -errno : st.st_size;
}

static int64_t open_new(const char *path)
{
	return call(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
}

static void test_writes_are_gathered_until_close(void)
{
	int64_t fd = open_new("gathered");

	for (int i = 0; i < 100; i++)
		CHECK(call(SYS_write, fd, "0123456789", 10, 0) == 10);
	CHECK(size_of("gathered") == 0);
	CHECK(call(SYS_lseek, fd, 0, SEEK_CUR, 0) == 1000);
	CHECK(control.rules[0].hits == 100);
	CHECK(call(SYS_close, fd, 0, 0, 0) == 0);
	CHECK(size_of("gathered") == 1000);
	CHECK(call(SYS_write, fd, "x", 1, 0) == -EBADF);
}

static void test_a_full_buffer_settles(void)
{
	char block[4096] = { 'b' };
	int64_t fd = open_new("full");

	for (int i = 0; i < 20; i++)
		CHECK(call(SYS_write, fd, block, sizeof(block), 0) == sizeof(block));
	CHECK(size_of("full") >= 65536);
	call(SYS_close, fd, 0, 0, 0);
	CHECK(size_of("full") == 20 * 4096);
}

static void test_calls_that_may_block_settle_everything(void)
{
	int p[2];
	int64_t fd = open_new("blocking");

	CHECK(pipe(p) == 0);
	call(SYS_write, fd, "a", 1, 0);
	CHECK(size_of("blocking") == 0);
	call(SYS_write, p[1], "x", 1, 0);
	CHECK(size_of("blocking") == 1);
	call(SYS_write, fd, "a", 1, 0);
	call(SYS_poll, 0, 0, 0, 0);
	CHECK(size_of("blocking") == 2);
	call(SYS_write, fd, "a", 1, 0);
	call(SYS_getpid, 0, 0, 0, 0);
	CHECK(size_of("blocking") == 2);
	call(SYS_lseek, fd, 0, SEEK_CUR, 0);
	CHECK(size_of("blocking") == 3);
	call(SYS_close, fd, 0, 0, 0);
	close(p[0]);
	close(p[1]);
}

static void test_a_bad_buffer_gets_the_kernels_answer(void)
{
	int64_t fd = open_new("fault");

	CHECK(call(SYS_write, fd, "ok", 2, 0) == 2);
	CHECK(call(SYS_write, fd, 8, 2, 0) == -EFAULT);
	CHECK(size_of("fault") == 2);
	call(SYS_close, fd, 0, 0, 0);
}

static void test_another_open_of_the_file_ends_the_handling(void)
{
	char got[8] = "";
	int64_t fd = open_new("twice"), other;

	call(SYS_write, fd, "one", 3, 0);
	other = call(SYS_openat, AT_FDCWD, "twice", O_RDONLY, 0);
	CHECK(call(SYS_read, other, got, 8, 0) == 3);
	call(SYS_write, fd, "two", 3, 0);
	CHECK(size_of("twice") == 6);
	CHECK(control.rules[0].why[PH_WHY_NOT_ALONE] > 0);
	call(SYS_close, fd, 0, 0, 0);
	call(SYS_close, other, 0, 0, 0);
}

static void test_dup_shares_the_state(void)
{
	int64_t fd = open_new("dup"), two;

	call(SYS_write, fd, "a", 1, 0);
	two = call(SYS_dup, fd, 0, 0, 0);
	CHECK(two >= 0);
	call(SYS_write, two, "b", 1, 0);
	call(SYS_write, fd, "c", 1, 0);
	CHECK(call(SYS_close, fd, 0, 0, 0) == 0);
	CHECK(size_of("dup") == 0);
	call(SYS_write, two, "d", 1, 0);
	call(SYS_close, two, 0, 0, 0);
	CHECK(size_of("dup") == 4);
	int in = open("dup", O_RDONLY);
	char got[5] = "";
	CHECK(read(in, got, 4) == 4 && !strcmp(got, "abcd"));
	close(in);
}

static void test_fork_settles_and_shares(void)
{
	int64_t fd = open_new("fork");
	int status;

	call(SYS_write, fd, "a", 1, 0);
	ph_fork_begin();
	pid_t pid = fork();
	if (pid == 0) {
		call(SYS_write, fd, "b", 1, 0);
		int64_t own = open_new("child");
		call(SYS_write, own, "xy", 2, 0);
		_exit(size_of("fork") == 2 && size_of("child") == 0 && call(SYS_close, own, 0, 0, 0) == 0 &&
		      size_of("child") == 2 ? 0 : 1);
	}
	ph_fork_end();
	waitpid(pid, &status, 0);
	CHECK(status == 0);
	call(SYS_write, fd, "c", 1, 0);
	CHECK(size_of("fork") == 3);
	call(SYS_close, fd, 0, 0, 0);
	fd = open_new("after-fork");
	call(SYS_write, fd, "a", 1, 0);
	CHECK(size_of("after-fork") == 0);
	call(SYS_close, fd, 0, 0, 0);
}

/* Threads and a fast signal write whole lines to one description: none may be lost, torn or doubled. */
static int64_t line_fd;
static _Atomic uint64_t lines_made;

static void one_line(void)
{
	char line[32];
	uint64_t n = __atomic_fetch_add(&lines_made, 1, __ATOMIC_RELAXED);
	uint64_t x = n;

	for (int i = 14; i >= 0; i--, x /= 10)
		line[i] = (char)('0' + x % 10);
	line[15] = '\n';
	if (call(SYS_write, line_fd, line, 16, 0) != 16)
		abort();
}

static void on_alarm(int sig)
{
	(void)sig;
	one_line();
}

static void *writer(void *arg)
{
	for (int i = 0; i < 4000; i++)
		one_line();
	return arg;
}

static void check_lines(const char *path)
{
	FILE *f = fopen(path, "r");
	uint8_t *seen = calloc(lines_made, 1);
	char line[64];
	uint64_t count = 0, bad = 0;

	while (fgets(line, sizeof(line), f)) {
		uint64_t n = strtoull(line, NULL, 10);

		if (strlen(line) != 16 || n >= lines_made || seen[n]++)
			bad++;
		count++;
	}
	if (bad || count != lines_made)
		printf("%s: %lu lines made, %lu found, %lu bad\n", path, lines_made, count, bad);
	CHECK(!bad && count == lines_made);
	fclose(f);
	free(seen);
}

static void test_threads_and_signals_lose_nothing(void)
{
	struct itimerval often = { { 0, 50 }, { 0, 50 } }, never = { 0 };
	struct sigaction act = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	pthread_t threads[3];

	/* A contended description is not handled again, so take a new one each round. */
	for (int round = 0; round < 300; round++) {
		char path[32];

		snprintf(path, sizeof(path), "lines.%d", round);
		lines_made = 0;
		line_fd = open_new(path);
		ph_handler_begin();
		sigaction(SIGALRM, &act, NULL);
		setitimer(ITIMER_REAL, &often, NULL);
		ph_thread_begin();
		for (int i = 0; i < (round % 3 ? 1 : 3); i++)
			pthread_create(&threads[i], NULL, writer, NULL);
		for (int i = 0; i < (round % 3 ? 1 : 3); i++)
			pthread_join(threads[i], NULL);
		setitimer(ITIMER_REAL, &never, NULL);
		CHECK(call(SYS_close, line_fd, 0, 0, 0) == 0);
		check_lines(path);
		unlink(path);
	}
	printf("contended %lu times, %lu hits\n", (unsigned long)control.rules[0].why[PH_WHY_CONTENDED],
	       (unsigned long)control.rules[0].hits);
}

/* The same while there is one thread, where no step is locked: only the signal comes between. */
static void test_signals_alone_lose_nothing(void)
{
	struct itimerval often = { { 0, 50 }, { 0, 50 } }, never = { 0 };
	struct sigaction act = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	uint64_t contended = control.rules[0].why[PH_WHY_CONTENDED];

	ph_handler_begin();
	sigaction(SIGALRM, &act, NULL);
	for (int round = 0; round < 300; round++) {
		char path[32];

		snprintf(path, sizeof(path), "alone.%d", round);
		lines_made = 0;
		line_fd = open_new(path);
		setitimer(ITIMER_REAL, &often, NULL);
		writer(NULL);
		setitimer(ITIMER_REAL, &never, NULL);
		CHECK(call(SYS_close, line_fd, 0, 0, 0) == 0);
		check_lines(path);
		unlink(path);
	}
	CHECK(control.rules[0].why[PH_WHY_CONTENDED] > contended);
}

static void test_a_late_error_reaches_the_next_call(void)
{
	int64_t fd = call(SYS_openat, AT_FDCWD, "/dev/full", O_WRONLY, 0);

	/* Not a regular file, so not handled: the error is at once the call's own. */
	CHECK(call(SYS_write, fd, "a", 1, 0) == -ENOSPC);
	call(SYS_close, fd, 0, 0, 0);
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)info;
	if (!ph_guard_recover(context))
		signal(sig, SIG_DFL);
}

static void begin_again(uint64_t price_ns)
{
	memset(control.rules[0].why, 0, sizeof(control.rules[0].why));
	control.rules[0].enabled = 1;
	control.rules[0].switched_off = 0;
	control.rules[0].price_ns = price_ns;
	CHECK(ph_dispatch_init(&control) == 0);
}

static void check_contained(int where)
{
	char got[8] = "", path[] = "contained.0";
	int64_t fd;

	path[10] += (char)where;
	begin_again(0);
	fd = open_new(path);
	CHECK(call(SYS_write, fd, "one", 3, 0) == 3);
	CHECK(size_of(path) == 0);
	fault = where;
	if (where == IN_WRITE)
		CHECK(call(SYS_write, fd, "two", 3, 0) == 3);
	else
		CHECK(call(SYS_fsync, fd, 0, 0, 0) == 0);
	CHECK(size_of(path) == (where == IN_WRITE ? 6 : 3));
	CHECK(control.rules[0].switched_off == 1 + PH_WHY_CONTAINED);
	CHECK(control.rules[0].why[PH_WHY_CONTAINED] > 0);
	/* Without the rule from now on, which would fault again. */
	CHECK(call(SYS_write, fd, "x", 1, 0) == 1);
	CHECK(size_of(path) == (where == IN_WRITE ? 7 : 4));
	fault = NOWHERE;
	call(SYS_close, fd, 0, 0, 0);
	int in = open(path, O_RDONLY);
	CHECK(read(in, got, 7) > 0 && !strcmp(got, where == IN_WRITE ? "onetwox" : "onex"));
	close(in);
}

static void test_a_rule_that_faults_is_contained(void)
{
	struct sigaction act = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO }, before;

	sigaction(SIGSEGV, &act, &before);
	check_contained(IN_WRITE);
	check_contained(IN_SETTLE);
	sigaction(SIGSEGV, &before, NULL);
}

static void test_a_rule_that_does_not_pay_leaves(void)
{
	for (int pays = 0; pays < 2; pays++) {
		int64_t fd;

		begin_again(pays ? 1000000 : 1);
		fd = open_new("pays");
		for (int i = 0; i < 40000; i++)
			CHECK(call(SYS_write, fd, "0123456789", 10, 0) == 10);
		CHECK(control.rules[0].switched_off == (pays ? 0 : 1 + PH_WHY_NO_GAIN));
		call(SYS_close, fd, 0, 0, 0);
		CHECK(size_of("pays") == 400000);
	}
}

static void test_the_switch_settles_and_ends(void)
{
	int64_t fd = open_new("switch");

	call(SYS_write, fd, "a", 1, 0);
	control.master = 0;
	call(SYS_write, fd, "b", 1, 0);
	CHECK(size_of("switch") == 2);
	call(SYS_close, fd, 0, 0, 0);
}

int main(void)
{
	char folder[] = "/tmp/ph-dispatch-XXXXXX";
	struct stat st;

	if (!mkdtemp(folder) || chdir(folder) || stat(".", &st))
		return 77;
	control.magic = PH_CONTROL_MAGIC;
	control.master = 1;
	control.n_rules = 1;
	strcpy(control.rules[0].name, "gather");
	control.rules[0].enabled = 1;
	control.n_mounts = 1;
	control.mounts[0].dev = st.st_dev;
	control.mounts[0].rules = 1;
	if (ph_dispatch_init(&control))
		return 1;
	test_writes_are_gathered_until_close();
	test_a_full_buffer_settles();
	test_calls_that_may_block_settle_everything();
	test_a_bad_buffer_gets_the_kernels_answer();
	test_another_open_of_the_file_ends_the_handling();
	test_dup_shares_the_state();
	test_fork_settles_and_shares();
	test_signals_alone_lose_nothing();
	test_threads_and_signals_lose_nothing();
	test_a_late_error_reaches_the_next_call();
	test_a_rule_that_faults_is_contained();
	test_a_rule_that_does_not_pay_leaves();
	begin_again(0);
	test_the_switch_settles_and_ends();
	printf(failures ? "%d checks failed\n" : "all checks hold\n", failures);
	if (system("rm -r \"$PWD\""))
		return 1;
	return failures != 0;
}

/* Runs a script of system calls and prints every result: run plain and improved, the two prints and the files they
 * leave must be equal.
 *
 *	driver SCRIPT DIR	one call a line, see `commands` below; S and T are slots that hold descriptors
 *
 * Results are kept in shared memory and printed at the end, so that printing settles nothing in between. A command
 * that begins with `signal` runs the rest of its line in a signal handler, `thread` in another thread, `child` in a
 * forked child, each to its end before the next line. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 8
#define LOG_MAX (4 << 20)
#define BYTES_MAX (256 << 10)

static int slot[SLOTS];
static char *logged;		/* shared with children */
static size_t *logged_len;
static char bytes[BYTES_MAX];
static char line_of_handler[256];
static char **all_words;	/* argv, for exec */
static long line_number;

static void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	*logged_len += (size_t)vsnprintf(logged + *logged_len, LOG_MAX - *logged_len, format, args);
	va_end(args);
}

static long got(long r)
{
	if (r < 0)
		say(" -%s", strerrorname_np(errno));
	else
		say(" %ld", r);
	return r;
}

static struct peer {
	int loop;		/* an epoll instance that waits for room on the connection */
	pid_t pid;		/* 0: no connection is here */
	int tells;		/* a pipe by which the child says what it has got */
} peers[SLOTS];

static void take(const struct sockaddr_in *there, int tell)
{
	unsigned long got_so_far[2] = { 0, 5381 };
	unsigned char buf[4096];
	ssize_t r;
	int s;

	/* Not to hold open what the parent closes. */
	for (int i = 0; i < SLOTS; i++)
		if (peers[i].pid > 0)
			close(slot[i]);
	s = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(s, (const struct sockaddr *)there, sizeof(*there)))
		_exit(1);
	while ((r = recv(s, buf, sizeof(buf), 0)) > 0) {
		got_so_far[0] += (unsigned long)r;
		for (ssize_t i = 0; i < r; i++)
			got_so_far[1] = got_so_far[1] * 33 + buf[i];
	}
	_exit(write(tell, got_so_far, sizeof(got_so_far)) != sizeof(got_so_far));
}

static void serve(int i)
{
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), ends[2];
	struct epoll_event event = { .events = EPOLLOUT };
	socklen_t size = sizeof(here);

	if (bind(listener, (struct sockaddr *)&here, sizeof(here)) || listen(listener, 1) || pipe(ends) ||
	    getsockname(listener, (struct sockaddr *)&here, &size))
		exit(2);
	peers[i].pid = fork();
	if (peers[i].pid == 0)
		take(&here, ends[1]);
	close(ends[1]);
	peers[i].tells = ends[0];
	slot[i] = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	close(listener);
	peers[i].loop = epoll_create1(EPOLL_CLOEXEC);
	got(slot[i] < 0 ? -1 : epoll_ctl(peers[i].loop, EPOLL_CTL_ADD, slot[i], &event));
}

static void hear(int i)
{
	unsigned long said[2] = { 0, 0 };
	int status = -1;

	got(close(slot[i]));
	slot[i] = -1;
	close(peers[i].loop);
	if (read(peers[i].tells, said, sizeof(said)) != sizeof(said))
		exit(2);
	close(peers[i].tells);
	waitpid(peers[i].pid, &status, 0);
	peers[i].pid = 0;
	say(" %lu %lx %d", said[0], said[1], status);
}

static unsigned long digest(const char *p, long n)
{
	unsigned long h = 5381;

	for (long i = 0; i < n; i++)
		h = h * 33 + (unsigned char)p[i];
	return h & 0xffffff;
}

static char *fill(const char *letter, long n)
{
	for (long i = 0; i < n && i < BYTES_MAX; i++)
		bytes[i] = (char)(letter[0] + i % 7);
	return bytes;
}

static void say_stat(long r, const struct stat *st)
{
	if (got(r) >= 0)
		say(" size=%ld links=%ld%s", (long)st->st_size, (long)st->st_nlink,
		    st->st_size == 0 && st->st_blocks ? " blocks!=0" : "");
}

static void run(char *line);

static void on_signal(int signo)
{
	int saved = errno;

	(void)signo;
	run(line_of_handler);
	errno = saved;
}

static void *on_thread(void *line)
{
	run(line);
	return NULL;
}

static void in_child(char *rest)
{
	pid_t pid = fork();

	if (pid == 0) {
		run(rest);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

/* The last page of a mapping whose next page is not there: n bytes of which only `good` can be read. */
static char *cliff(long good)
{
	static char *pages;

	if (!pages) {
		pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		munmap(pages + 4096, 4096);
		memset(pages, 'c', 4096);
	}
	return pages + 4096 - good;
}

static void say_mapped(int fd, long n)
{
	char *p = mmap(NULL, (size_t)n, PROT_READ, MAP_SHARED, fd, 0);
	struct stat st;

	if (p == MAP_FAILED) {
		got(-1);
		return;
	}
	if (fstat(fd, &st) == 0 && st.st_size < n)
		n = st.st_size;
	say(" map=%lx", digest(p, n));
	munmap(p, 4096);
}

static void say_contents(const char *name)
{
	int fd = open(name, O_RDONLY);
	long n;

	if (got(fd) < 0)
		return;
	n = read(fd, bytes, BYTES_MAX);
	say(" n=%ld digest=%lx", n, digest(bytes, n));
	close(fd);
}

static void exec_rest(void)
{
	char from[32], fds[SLOTS * 12] = "";

	snprintf(from, sizeof(from), "%ld", line_number);
	for (int i = 0; i < SLOTS; i++)
		sprintf(fds + strlen(fds), "%d,", slot[i]);
	/* What was logged crosses in a file of its own, unlinked by the next image. */
	int fd = open("driver.log", O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (write(fd, logged, *logged_len) < 0)
		perror("driver.log");
	close(fd);
	execl("/proc/self/exe", all_words[0], all_words[1], all_words[2], from, fds, NULL);
	perror("exec");
}

/* Which slots another program has: a bit each. */
static int heirs(void)
{
	static const char look[] = "r=0 b=1; for n; do [ -e /proc/$$/fd/$n ] && r=$((r | b)); b=$((b * 2)); done; exit $r";
	char numbers[SLOTS][12], *words[SLOTS + 5] = { "sh", "-c", (char *)look, "sh" };
	int status = -1;
	pid_t pid;

	for (int i = 0; i < SLOTS; i++) {
		snprintf(numbers[i], sizeof(numbers[i]), "%d", slot[i]);
		words[i + 4] = numbers[i];
	}
	if (posix_spawn(&pid, "/bin/sh", NULL, NULL, words, environ) == 0)
		waitpid(pid, &status, 0);
	return WEXITSTATUS(status);
}

static void flags_of(int fd)
{
	long r = fcntl(fd, F_GETFL);

	if (got(r) >= 0)
		say(" %s%s", r & O_APPEND ? "append " : "", (r & O_ACCMODE) == O_RDONLY ? "ro" : "w");
}

static const int signals[] = { SIGUSR2, SIGURG };	/* by default the second does nothing */
static long came[4];					/* handlers that have run */

static void on_first(int signo) { came[2] += signo; }
static void on_second(int signo) { came[3] += signo; }

static void (*const handlers[])(int) = { SIG_DFL, SIG_IGN, on_first, on_second };

/* As the kernel has it; the restorer is libc's. */
struct action {
	void (*handler)(int);
	unsigned long flags;
	void *restorer;
	unsigned long mask;
};

static void say_action(const struct action *a)
{
	for (int i = 0; i < 4; i++)
		if (a->handler == handlers[i])
			say(" handler %d", i);
	say(" flags %lx mask %lx%s", a->flags, a->mask, a->restorer ? " restorer" : "");
}

/* act SIGNAL HANDLER FLAGS MASK, each a digit; and where the old action goes: 0 here, 1 nowhere, 2 a bad address, 3 over it */
static void act(const char *words)
{
	struct action a = { .handler = handlers[words[2] & 3] }, old = { 0 }, mine;
	int signo = signals[words[0] & 1], flags = words[4] - '0', mask = words[6] - '0';
	void *where[] = { &old, NULL, (void *)8, &a };

	syscall(SYS_rt_sigaction, SIGUSR1, NULL, &mine, 8);
	a.restorer = mine.restorer;
	a.flags = 0x04000000ul | (flags & 1 ? SA_RESTART : 0) | (flags & 2 ? SA_NODEFER : 0) | (flags & 4 ? 0x80000000ul : 0);
	a.mask = (mask & 1 ? 1ul << (SIGALRM - 1) : 0) | (mask & 4 ? 1ul << (SIGKILL - 1) : 0);
	got(syscall(SYS_rt_sigaction, signo, &a, where[words[8] & 3], 8));
	say_action(words[8] == '3' ? &a : &old);
}

/* send SIGNAL, unless that would be the end */
static void send_to_us(int signo)
{
	struct action now;

	syscall(SYS_rt_sigaction, signo, NULL, &now, 8);
	say_action(&now);
	if (now.handler != SIG_DFL || signo == SIGURG)
		raise(signo);
	say(" %ld %ld", came[2], came[3]);
}

/* hold SIGNAL: it comes, and is held back; free SIGNAL: whether it is still there, which is then taken */
static void hold_back(int signo, int back)
{
	struct timespec none = { 0 };
	sigset_t set, waiting;

	sigemptyset(&set);
	sigaddset(&set, signo);
	sigprocmask(back ? SIG_BLOCK : SIG_UNBLOCK, back ? &set : &(sigset_t){ 0 }, NULL);
	if (back)
		raise(signo);
	sigpending(&waiting);
	say(" %d", sigismember(&waiting, signo));
	if (back)
		return;
	if (sigismember(&waiting, signo))
		got(sigtimedwait(&set, NULL, &none));
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void run(char *line)
{
	char word[32] = "", a[64] = "", b[64] = "", c[64] = "", d[64] = "";
	char *rest = line + strcspn(line, " ");
	int words, s, t;
	long n = 0, m = 0;
	struct stat st;

	if (*rest)
		rest++;
	words = sscanf(line, "%31s %63s %63s %63s %63s", word, a, b, c, d);
	if (words < 1 || word[0] == '#')
		return;
	s = words > 1 && a[0] >= '0' && a[0] < '0' + SLOTS ? slot[a[0] - '0'] : -1;
	t = words > 2 && b[0] >= '0' && b[0] < '0' + SLOTS ? slot[b[0] - '0'] : -1;
#define IS(w) (strcmp(word, w) == 0)
	if (IS("signal")) {
		strcpy(line_of_handler, rest);
		raise(SIGUSR1);
		return;
	} else if (IS("thread")) {
		pthread_t thread;

		pthread_create(&thread, NULL, on_thread, rest);
		pthread_join(thread, NULL);
		return;
	} else if (IS("child")) {
		in_child(rest);
		return;
	}
	say("%s", line);
	if (IS("open")) {			/* open SLOT NAME FLAGS(octal) */
		got(slot[a[0] - '0'] = open(b, (int)strtol(c, NULL, 8), 0644));
	} else if (IS("write")) {		/* write S LETTER N */
		n = atol(c);
		got(write(s, fill(b, n), (size_t)n));
	} else if (IS("pwrite")) {		/* pwrite S LETTER N OFFSET */
		n = atol(c);
		got(pwrite(s, fill(b, n), (size_t)n, atol(d)));
	} else if (IS("writev")) {		/* writev S LETTER N */
		n = atol(c);
		fill(b, n);
		got(writev(s, (struct iovec[]){ { bytes, (size_t)n / 2 }, { bytes + n / 2, (size_t)(n - n / 2) } }, 2));
	} else if (IS("badwrite")) {		/* badwrite S N GOOD: of n bytes only GOOD can be read */
		got(write(s, cliff(atol(c)), (size_t)atol(b)));
	} else if (IS("nullwrite")) {		/* nullwrite S N */
		got(write(s, NULL, (size_t)atol(b)));
	} else if (IS("read")) {		/* read S N */
		n = got(read(s, bytes, (size_t)atol(b)));
		say(" %lx", digest(bytes, n));
	} else if (IS("badread")) {		/* badread S N GOOD: of n bytes only GOOD can be written to */
		n = got(read(s, cliff(atol(c)), (size_t)atol(b)));
		say(" %lx", digest(cliff(atol(c)), n));
	} else if (IS("pread")) {		/* pread S N OFFSET */
		n = got(pread(s, bytes, (size_t)atol(b), atol(c)));
		say(" %lx", digest(bytes, n));
	} else if (IS("lseek")) {		/* lseek S OFFSET WHENCE */
		got(lseek(s, atol(b), atoi(c)));
	} else if (IS("fstat")) {
		n = fstat(s, &st);
		say_stat(n, &st);
	} else if (IS("ftruncate")) {		/* ftruncate S N */
		got(ftruncate(s, atol(b)));
	} else if (IS("fsync")) {
		got(fsync(s));
	} else if (IS("fdatasync")) {
		got(fdatasync(s));
	} else if (IS("getfl")) {
		flags_of(s);
	} else if (IS("setfl")) {		/* setfl S FLAGS(octal) */
		got(fcntl(s, F_SETFL, (int)strtol(b, NULL, 8)));
	} else if (IS("getfd")) {
		got(fcntl(s, F_GETFD));
	} else if (IS("setfd")) {		/* setfd S BITS */
		got(fcntl(s, F_SETFD, atoi(b)));
	} else if (IS("fioclex")) {
		got(ioctl(s, FIOCLEX));
	} else if (IS("mark")) {		/* mark S: for exec to close */
		got(s < 0 ? -2 : close_range((unsigned)s, (unsigned)s, CLOSE_RANGE_CLOEXEC));
	} else if (IS("heirs")) {
		say(" %d", heirs());
	} else if (IS("tcgets")) {
		struct termios tio;

		got(ioctl(s, TCGETS, &tio));
	} else if (IS("ficlone")) {		/* ficlone S T: S becomes T's contents */
		got(ioctl(s, FICLONE, t));
	} else if (IS("cfr")) {			/* cfr S T N: from S to T at their positions */
		got(copy_file_range(s, NULL, t, NULL, (size_t)atol(c), 0));
	} else if (IS("cfro")) {		/* cfro S T N OFFSET: to OFFSET of T */
		off_t to = atol(d);

		got(copy_file_range(s, NULL, t, &to, (size_t)atol(c), 0));
	} else if (IS("dup")) {			/* dup S T: slot T = dup(S) */
		got(slot[b[0] - '0'] = dup(s));
	} else if (IS("dup2")) {		/* dup2 S T: over the descriptor in T */
		got(dup2(s, t));
	} else if (IS("dupfd")) {		/* dupfd S T LOWEST */
		got(slot[b[0] - '0'] = fcntl(s, F_DUPFD_CLOEXEC, atoi(c)));
	} else if (IS("dup3")) {		/* dup3 S T: over the descriptor in T, for exec to close */
		got(dup3(s, t, O_CLOEXEC));
	} else if (IS("close")) {
		got(close(s));
	} else if (IS("map")) {			/* map S N */
		say_mapped(s, atol(b));
	} else if (IS("stat")) {		/* stat NAME */
		n = stat(a, &st);
		say_stat(n, &st);
	} else if (IS("unlink")) {
		got(unlink(a));
	} else if (IS("rename")) {
		got(rename(a, b));
	} else if (IS("link")) {
		got(link(a, b));
	} else if (IS("cat")) {			/* cat NAME, by a descriptor of its own */
		say_contents(a);
	} else if (IS("pipe")) {		/* pipe S T */
		int ends[2] = { -1, -1 };

		got(pipe(ends));
		slot[a[0] - '0'] = ends[0];
		slot[b[0] - '0'] = ends[1];
	} else if (IS("serve")) {		/* serve SLOT: a connection; its peer, a child, takes what comes */
		serve(a[0] - '0');
	} else if (IS("await")) {		/* await SLOT: until the connection takes more */
		struct epoll_event event;

		got(epoll_wait(peers[a[0] - '0'].loop, &event, 1, 10000));
	} else if (IS("hear")) {		/* hear SLOT: closes the connection; what the peer has got */
		hear(a[0] - '0');
	} else if (IS("nap")) {			/* nap MICROSECONDS COUNT: equal sleeps in a row */
		struct timespec t1 = { .tv_nsec = 1000 * atol(a) };

		for (long i = 0; i < atol(b); i++)
			got(nanosleep(&t1, NULL));
	} else if (IS("who")) {			/* who this process and thread are; the pid is checked another way */
		char self[32] = "";

		if (readlink("/proc/self", self, sizeof(self) - 1) < 0)
			perror("/proc/self");
		say(" %s %ld %ld %ld %ld", syscall(SYS_getpid) == atol(self) ? "self" : "ANOTHER", syscall(SYS_getuid),
		    syscall(SYS_geteuid), syscall(SYS_getgid), syscall(SYS_getegid));
	} else if (IS("setegid")) {		/* setegid N: of this thread alone */
		got(syscall(SYS_setresgid, -1, atoi(a), -1));
	} else if (IS("setgids")) {		/* setgids N, of all threads */
		got(setregid((gid_t)-1, (gid_t)atoi(a)));
	} else if (IS("act")) {
		act(rest);
	} else if (IS("send")) {
		send_to_us(signals[a[0] & 1]);
	} else if (IS("hold") || IS("free")) {
		hold_back(signals[a[0] & 1], IS("hold"));
	} else if (IS("exec")) {
		say("\n");
		exec_rest();
	} else if (IS("exit")) {
		say("\n");
		if (write(1, logged, *logged_len) < 0)
			perror("driver");
		_exit(0);
	} else if (IS("abandon")) {		/* ends as a killed process does, after the results are out */
		say("\n");
		if (write(1, logged, *logged_len) < 0)
			perror("driver");
		kill(getpid(), SIGKILL);
	} else {
		(void)m;
		fprintf(stderr, "driver: what is %s?\n", word);
		exit(2);
	}
	say("\n");
}

static void after_exec(char **argv)
{
	char *p = argv[4];
	int fd = open("driver.log", O_RDONLY);

	line_number = atol(argv[3]);
	for (int i = 0; i < SLOTS; i++)
		slot[i] = (int)strtol(p, &p, 10), p++;
	*logged_len = (size_t)read(fd, logged, LOG_MAX);
	close(fd);
	unlink("driver.log");
}

int main(int argc, char **argv)
{
	char line[256], *space;
	long number = 0;
	FILE *script;

	if (argc < 3)
		return fprintf(stderr, "usage: driver SCRIPT DIR\n"), 2;
	all_words = argv;
	space = mmap(NULL, LOG_MAX + 64, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	logged_len = (size_t *)space;
	logged = space + 64;
	script = fopen(argv[1], "re");
	if (!script || chdir(argv[2]) < 0)
		return perror("driver"), 2;
	for (int i = 0; i < SLOTS; i++)
		slot[i] = -1;
	signal(SIGUSR1, on_signal);
	/* All of it at once: reading the script later would be a call between the script's own. */
	setvbuf(script, NULL, _IOFBF, 1 << 20);
	if (argc > 4)
		after_exec(argv);
	while (fgets(line, sizeof(line), script)) {
		line[strcspn(line, "\n")] = '\0';
		if (++number <= line_number)
			continue;
		line_number = number;
		run(line);
	}
	if (write(1, logged, *logged_len) < 0)
		return perror("driver"), 2;
	return 0;
}

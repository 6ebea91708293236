/* Makes calls in an empty folder and prints each: pid, tid, name, result, size, offset, path, path2 (hex), "-" where
 * there is none. The recorded calls between the two marks, getpriority(77, …), must equal the print.
 *
 *	calls_made FOLDER
 *
 * With THROUGH_LIBC the calls are made by libc's syscall(), where the interposer sees them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NONE (-1L)
#define LINES_BYTES (1 << 16)

static struct lines {
	size_t used;
	char text[LINES_BYTES];
} *lines;	/* shared with the children */

static char data[100];
static struct stat st;

static long raw(long nr, long a, long b, long c, long d)
{
#ifdef THROUGH_LIBC
	long ret = syscall(nr, a, b, c, d);

	return ret == -1 ? -errno : ret;
#else
	long ret;
	register long r10 __asm__("r10") = d;

	__asm__ volatile("syscall" : "=a"(ret) : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return ret;
#endif
}

static void add(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	lines->used += vsnprintf(lines->text + lines->used, LINES_BYTES - lines->used, format, args);
	va_end(args);
}

static void add_path(const char *path)
{
	add("\t%s", path ? "x" : "-");
	for (; path && *path; path++)
		add("%02x", (unsigned char)*path);
}

static void add_line(int pid, int tid, const char *name, long ret, long size, long offset, const char *path,
		     const char *path2)
{
	add("%d\t%d\t%s\t%ld\t%ld\t%ld", pid, tid, name, ret, size, offset);
	add_path(path);
	add_path(path2);
	add("\n");
}

struct call {
	long a, b, c, d, nr;
	long has_size, size, offset;
	const char *path, *path2;
	int pid, tid;
};

static int my_pid;

static long made(const char *name, struct call call)
{
	long ret = raw(call.nr, call.a, call.b, call.c, call.d);

	add_line(call.pid ? call.pid : my_pid, call.tid ? call.tid : my_pid, name, ret, call.has_size ? call.size : NONE,
		 call.has_size ? call.offset : NONE,
		 call.path, call.path2);
	return ret;
}

#define P(text) (long)(text)
#define AT(bytes, position) .has_size = 1, .size = bytes, .offset = position
#define MADE(name, ...) made(#name, (struct call){ __VA_ARGS__, .nr = SYS_##name })

static void files(void)
{
	int fd = MADE(openat, AT_FDCWD, P("one"), O_RDWR | O_CREAT | O_EXCL, 0600, AT(0, 0), .path = "one");
	int dup_fd, other;

	MADE(write, fd, P(data), 100, AT(100, 100));
	MADE(pwrite64, fd, P(data), 50, 200, AT(250, 100));
	MADE(lseek, fd, 10, SEEK_SET, AT(250, 10));
	MADE(read, fd, P(data), 20, AT(250, 30));
	MADE(pread64, fd, P(data), 20, 0, AT(250, 30));
	dup_fd = MADE(dup, fd, AT(250, 30));
	MADE(read, dup_fd, P(data), 5, AT(250, 35));
	other = MADE(open, P("one"), O_RDONLY, AT(250, 0), .path = "one");
	MADE(read, other, P(data), 7, AT(250, 7));
	MADE(write, other, P(data), 7, AT(250, 7));
	MADE(fstat, fd, P(&st), AT(250, 35));
	MADE(ftruncate, fd, 40, AT(40, 35));
	MADE(fcntl, fd, F_GETFL, AT(40, 35));
	MADE(close, dup_fd);
	MADE(close, other);
	MADE(close, fd);
	MADE(close, fd);
	MADE(read, fd, P(data), 1);
}

static void paths(void)
{
	static const char odd[] = "line\nbreak \xff\xfe tab\t", long_name[] =
		"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
		"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
		"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

	MADE(stat, P("one"), P(&st), .path = "one");
	MADE(lstat, P("missing"), P(&st), .path = "missing");
	MADE(access, P(""), F_OK, .path = "");
	MADE(mkdir, P("dir"), 0700, .path = "dir");
	MADE(mkdir, P("dir"), 0700, .path = "dir");
	MADE(rename, P("one"), P(odd), .path = "one", .path2 = odd);
	MADE(link, P(odd), P("dir/two"), .path = odd, .path2 = "dir/two");
	MADE(symlink, P("to nowhere"), P("dir/link"), .path = "to nowhere", .path2 = "dir/link");
	MADE(readlink, P("dir/link"), P(data), sizeof(data), .path = "dir/link");
	MADE(chmod, P(odd), 0640, .path = odd);
	MADE(truncate, P(odd), 3, .path = odd);
	MADE(open, P(long_name), O_RDONLY, .path = long_name);
	MADE(stat, 1, P(&st));
	MADE(openat, AT_FDCWD, -4096, O_RDONLY);
	MADE(unlink, P("dir/two"), .path = "dir/two");
	MADE(unlinkat, AT_FDCWD, P("dir/link"), 0, .path = "dir/link");
	MADE(unlink, P("dir/link"), .path = "dir/link");
	MADE(rmdir, P("dir"), .path = "dir");
	MADE(unlink, P(odd), .path = odd);
}

static void children(char *self)
{
	char *argv[] = { self, "--exit", "\xc3\x28 words", NULL };
	int pid, status;
	long waited;

	pid = raw(SYS_fork, 0, 0, 0, 0);
	if (!pid) {
		my_pid = getpid();
		add_line(my_pid, my_pid, "getpid", my_pid, NONE, NONE, NULL, NULL);
		MADE(execve, P("./missing"), P(argv), P(environ), .path = "./missing");
		raw(SYS_execve, P(self), P(argv), P(environ), 0);
		raw(SYS_exit_group, 9, 0, 0, 0);
	}
	/* Nothing is added before the child is gone: the lines are shared. */
	waited = raw(SYS_wait4, pid, P(&status), 0, 0);
	add_line(my_pid, my_pid, "fork", pid, NONE, NONE, NULL, NULL);
	add_line(my_pid, my_pid, "wait4", waited, NONE, NONE, NULL, NULL);
}

static void *thread(void *unused)
{
	int tid = raw(SYS_gettid, 0, 0, 0, 0);

	add_line(my_pid, tid, "gettid", tid, NONE, NONE, NULL, NULL);
	MADE(access, P("from a thread"), F_OK, .path = "from a thread", .tid = tid);
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t other;

	if (argc > 1 && !strcmp(argv[1], "--exit"))
		_exit(7);
	if (argc != 2 || chdir(argv[1]))
		return 2;
	lines = mmap(NULL, sizeof(*lines), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	my_pid = getpid();
	raw(SYS_getpriority, 77, 1, 0, 0);
	files();
	paths();
	children("/proc/self/exe");
	raw(SYS_getpriority, 77, 2, 0, 0);
	if (pthread_create(&other, NULL, thread, NULL) || pthread_join(other, NULL))
		return 2;
	fwrite(lines->text, 1, lines->used, stdout);
	return 0;
}

/* Failing calls keep their errno; bad pointers are EFAULT as the kernel says, never a crash. */
#include "conform.h"

#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>

static char *const argv_true[] = { "true", NULL };
extern char **environ;

static void *volatile nowhere = (void *)8;
static void *volatile noncanonical = (void *)0x8000000000000000;

static void errnos(void)
{
	char buffer[16];

	SAY_CALL(open("/nonexistent", O_RDONLY));
	SAY_CALL(open("/", O_WRONLY));
	SAY_CALL(close(12345));
	SAY_CALL(read(12345, buffer, 1));
	SAY_CALL(write(0x7fffffff, buffer, 1));
	SAY_CALL(lseek(0, 0, 77));
	SAY_CALL(mkdir("/tmp", 0700));
	SAY_CALL(kill(999999999, 0));
	SAY_CALL(dup2(1, -1));
	SAY_CALL(fcntl(1, 9999));
	SAY_CALL(syscall(9999));
	SAY_CALL(syscall(-1L));
	SAY_CALL(waitpid(999999, NULL, 0));
	SAY_CALL(execve("/nonexistent", argv_true, environ));
	SAY_CALL(execve("/tmp", argv_true, environ));
	SAY_CALL(execve("/etc/passwd", argv_true, environ));
	SAY_CALL(munmap((void *)1, 1));
}

static void faults(void)
{
	struct iovec iov = { nowhere, 5 };
	char name[] = "/tmp/conform-XXXXXX";
	int fd = mkstemp(name), pipes[2];

	unlink(name);
	if (pipe(pipes) < 0 || write(fd, "x", 1) != 1 || write(pipes[1], "x", 1) != 1)
		say("  no file\n");
	lseek(fd, 0, SEEK_SET);
	SAY_CALL(open(nowhere, O_RDONLY));
	SAY_CALL(open(NULL, O_RDONLY));
	SAY_CALL(read(fd, nowhere, 1));
	SAY_CALL(write(fd, nowhere, 1));
	SAY_CALL(write(fd, noncanonical, 1));
	SAY_CALL(pwrite(fd, nowhere, 1, 0));
	SAY_CALL(writev(fd, &iov, 1));
	SAY_CALL(writev(fd, nowhere, 1));
	SAY_CALL(write(pipes[1], nowhere, 1));
	SAY_CALL(read(pipes[0], nowhere, 1));
	SAY_CALL(stat(nowhere, nowhere));
	SAY_CALL(fstat(fd, nowhere));
	SAY_CALL(pipe(nowhere));
	SAY_CALL(syscall(SYS_rt_sigaction, SIGUSR1, nowhere, NULL, 8));
	SAY_CALL(syscall(SYS_rt_sigaction, SIGSEGV, nowhere, NULL, 8));
	SAY_CALL(syscall(SYS_rt_sigaction, SIGSEGV, NULL, nowhere, 8));
	SAY_CALL(syscall(SYS_rt_sigaction, SIGSEGV, NULL, NULL, 4));
	SAY_CALL(syscall(SYS_rt_sigaction, SIGKILL, nowhere, NULL, 8));
	SAY_CALL(syscall(SYS_rt_sigprocmask, 0, nowhere, NULL, 8));
	SAY_CALL(syscall(SYS_nanosleep, nowhere, NULL));
	SAY_CALL(poll(nowhere, 1, 0));
	SAY_CALL(syscall(SYS_clone3, nowhere, 64));
	SAY_CALL(syscall(SYS_clone3, nowhere, 8));
	SAY_CALL(getcwd(noncanonical, 100));
}

/* The page is there, the next is not: a buffer or string that crosses the end faults, one that ends there does not. */
static void page_ends(void)
{
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char name[] = "/tmp/conform-XXXXXX";
	int fd = mkstemp(name);
	char *const *vector;

	unlink(name);
	munmap(page + 4096, 4096);
	memset(page, 'a', 4096);
	SAY_CALL(write(fd, page + 4090, 6));
	say("  wrote %d of 10\n", (int)write(fd, page + 4090, 10));
	SAY_CALL(open(page + 4090, O_RDONLY));
	memcpy(page + 4086, "/dev/null", 10);
	SAY_CALL(open(page + 4086, O_RDONLY));
	memset(page + 4080, 0, 16);
	vector = (char *const *)(page + 4088);
	memcpy(page + 4000, "/bin/true", 10);
	if (vfork() == 0) {
		execve(page + 4000, vector, vector);
		_exit(99);
	}
	int status;
	wait(&status);
	say_status("exec with arrays at a page's end", status);
	memcpy(page + 4088, &(char *){ page + 4000 }, 8);	/* not ended */
	SAY_CALL(execve(page + 4000, vector, environ));
	SAY_CALL(execve(page + 4000, argv_true, (char **)vector));
}

static void exec_faults(void)
{
	char *bad[] = { nowhere, NULL };

	SAY_CALL(execve(nowhere, argv_true, environ));
	SAY_CALL(execve(NULL, argv_true, environ));
	SAY_CALL(execve("/bin/true", nowhere, environ));
	SAY_CALL(execve("/bin/true", argv_true, nowhere));
	SAY_CALL(execve("/bin/true", argv_true, noncanonical));
	SAY_CALL(execve("/bin/true", argv_true, bad));
	SAY_CALL(execve("/bin/true", bad, environ));
	SAY_CALL(syscall(SYS_execveat, 12345, "true", argv_true, environ, 0));
	SAY_CALL(syscall(SYS_execveat, 12345, "", argv_true, environ, AT_EMPTY_PATH));
	SAY_CALL(syscall(SYS_execveat, AT_FDCWD, "/bin/true", argv_true, environ, 0x40000000));
}

static const struct check checks[] = {
	{ "errno", errnos },
	{ "efault", faults },
	{ "page_ends", page_ends },
	{ "exec_efault", exec_faults },
};

CONFORM_MAIN(checks)

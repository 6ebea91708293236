/* What the process that reads ahead could do wrong, each tried once in a child that is held to looking. Prints a line for
 * each: what, and "killed" or "done". For tests/improve/test_ahead.py. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "only.h"

static const char *file;

static void looks(void)
{
	char entries[512];
	struct stat st;
	int fd = openat(AT_FDCWD, file, O_RDONLY | O_NOATIME | O_NONBLOCK | O_CLOEXEC);

	fstat(fd, &st);
	readahead(fd, 0, 4096);
	syscall(SYS_getdents64, fd, entries, sizeof(entries));
	close(fd);
}

static void opens_to_write(void) { openat(AT_FDCWD, file, O_WRONLY); }
static void opens_to_read_and_write(void) { openat(AT_FDCWD, file, O_RDWR); }
static void creates(void) { openat(AT_FDCWD, file, O_RDONLY | O_CREAT, 0600); }
static void truncates_at_open(void) { openat(AT_FDCWD, file, O_RDONLY | O_TRUNC); }
static void makes_a_nameless_file(void) { openat(AT_FDCWD, "/tmp", O_TMPFILE | O_RDWR, 0600); }
static void removes(void) { unlink(file); }
static void renames(void) { rename(file, file); }
static void truncates(void) { truncate(file, 0); }
static void changes_the_mode(void) { chmod(file, 0600); }
static void sets_an_attribute(void) { setxattr(file, "user.a", "b", 1, 0); }
static void reads(void) { char c; if (read(0, &c, 1)) return; }
static void writes_elsewhere(void) { if (write(2, "", 0)) return; }
static void connects(void) { socket(AF_INET, SOCK_STREAM, 0); }
static void kills(void) { kill(getppid(), 0); }
static void maps(void) { mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }
static void starts(void) { execl("/bin/true", "true", NULL); }
static void forks(void) { fork(); }
/* Entered as a 32-bit program does: the numbers mean other calls there. */
static void enters_by_the_old_door(void) { __asm__ volatile("int $0x80" : : "a"(20) : "memory"); }

static const struct { const char *what; void (*does)(void); } tries[] = {
#define TRY(name) { #name, name }
	TRY(looks), TRY(opens_to_write), TRY(opens_to_read_and_write), TRY(creates), TRY(truncates_at_open),
	TRY(makes_a_nameless_file), TRY(removes), TRY(renames), TRY(truncates), TRY(changes_the_mode), TRY(sets_an_attribute),
	TRY(reads), TRY(writes_elsewhere), TRY(connects), TRY(kills), TRY(maps), TRY(starts), TRY(forks),
	TRY(enters_by_the_old_door),
};

int main(int argc, char **argv)
{
	file = argc > 1 ? argv[1] : "/dev/null";
	for (size_t i = 0; i < sizeof(tries) / sizeof(*tries); i++) {
		int status;
		pid_t child = fork();

		if (child == 0) {
			if (ph_only_look() < 0)
				_exit(77);
			tries[i].does();
			_exit(0);
		}
		if (waitpid(child, &status, 0) != child)
			return 1;
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
			return 77;
		printf("%s %s\n", tries[i].what, WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS ? "killed" : "done");
		fflush(stdout);
	}
	return 0;
}

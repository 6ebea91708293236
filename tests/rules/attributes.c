/* Does as its arguments say, one after the other, and prints what each call answers:
 *
 *   look PATH | follow PATH | sizes PATH     statx: of the path itself, of what it leads to; or asked for the size alone
 *   lget PATH ATTRIBUTE | get PATH ATTRIBUTE
 *   set PATH ATTRIBUTE | drop PATH ATTRIBUTE  a list that lets user 1 read; or none
 *   move PATH PATH | link PATH PATH | go PATH | make PATH | wait MS
 *   act PATH ATTRIBUTE                        sets it, in a signal handler
 *   become USER                               another user, in this process
 *   child PATH ATTRIBUTE                      sets it, in a child that shares this memory
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define ENTRY(tag, perm, id) tag, 0, perm, 0, (char)(id), (char)((id) >> 8), (char)((id) >> 16), (char)((id) >> 24)

static const char list[] = {
	2, 0, 0, 0, ENTRY(1, 6, -1), ENTRY(2, 4, 1), ENTRY(4, 4, -1), ENTRY(16, 4, -1), ENTRY(32, 4, -1),
};

static const char *path, *attribute;

static int set(const char *where, const char *name)
{
	return lsetxattr(where, name, list, sizeof(list), 0);
}

static void act(int number)
{
	(void)number;
	set(path, attribute);
}

static void say(const char *what, long r)
{
	printf("%s %ld %s\n", what, r, r < 0 ? strerrorname_np(errno) : "");
}

static int look(const char *where, int flags, unsigned mask)
{
	struct statx st;

	return statx(AT_FDCWD, where, flags, mask, &st);
}

static __attribute__((noinline)) void in_a_child(const char *where, const char *name)
{
	if (vfork() == 0) {
		set(where, name);
		_exit(0);
	}
}

/* One word and its operands: how many arguments it was. */
static int one(char **word)
{
	const struct timespec ms = { .tv_nsec = word[1] ? atol(word[1]) * 1000000 : 0 };
	const unsigned mask = STATX_MODE | STATX_NLINK | STATX_MTIME | STATX_SIZE;
	const char *verb = word[0];
	char value[256];

	if (!strcmp(verb, "look"))
		return say(verb, look(word[1], AT_SYMLINK_NOFOLLOW, mask)), 2;
	if (!strcmp(verb, "follow"))
		return say(verb, look(word[1], 0, mask)), 2;
	if (!strcmp(verb, "sizes"))
		return say(verb, look(word[1], AT_SYMLINK_NOFOLLOW, STATX_SIZE)), 2;
	if (!strcmp(verb, "lget"))
		return say(verb, lgetxattr(word[1], word[2], value, sizeof(value))), 3;
	if (!strcmp(verb, "get"))
		return say(verb, getxattr(word[1], word[2], NULL, 0)), 3;
	if (!strcmp(verb, "set"))
		return say(verb, set(word[1], word[2])), 3;
	if (!strcmp(verb, "drop"))
		return say(verb, lremovexattr(word[1], word[2])), 3;
	if (!strcmp(verb, "move"))
		return say(verb, rename(word[1], word[2])), 3;
	if (!strcmp(verb, "link"))
		return say(verb, symlink(word[1], word[2])), 3;
	if (!strcmp(verb, "go"))
		return say(verb, chdir(word[1])), 2;
	if (!strcmp(verb, "make"))
		return say(verb, close(open(word[1], O_WRONLY | O_CREAT, 0644))), 2;
	if (!strcmp(verb, "become"))
		return say(verb, setuid((uid_t)atoi(word[1]))), 2;
	if (!strcmp(verb, "wait"))
		return say(verb, nanosleep(&ms, NULL)), 2;
	if (!strcmp(verb, "act")) {
		path = word[1];
		attribute = word[2];
		signal(SIGUSR1, act);
		return say(verb, raise(SIGUSR1)), 3;
	}
	if (!strcmp(verb, "child"))
		return in_a_child(word[1], word[2]), 3;
	exit(2);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc;)
		i += one(argv + i);
	return 0;
}

#define _GNU_SOURCE
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int fail(const char *format, ...)
{
	static bool said;
	va_list args;

	if (!said) {
		fputs("peephole-attach: ", stderr);
		va_start(args, format);
		vfprintf(stderr, format, args);
		va_end(args);
		fputc('\n', stderr);
	}
	said = true;
	return -1;
}

uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

int target_read(const struct target *t, uint64_t at, void *to, size_t n)
{
	return pread(t->mem, to, n, (off_t)at) == (ssize_t)n ? 0 : -1;
}

static int poke(const struct target *t, uint64_t at, const uint8_t *from, size_t n)
{
	pid_t tid = 0;

	for (size_t i = 0; i < t->n_threads && !tid; i++)
		if (t->threads[i].stopped)
			tid = t->threads[i].tid;
	while (tid && n) {
		uint64_t from_word = at & ~7ull, word;
		size_t skip = (size_t)(at - from_word), bytes = 8 - skip < n ? 8 - skip : n;

		if (target_read(t, from_word, &word, 8) < 0)
			return -1;
		memcpy((uint8_t *)&word + skip, from, bytes);
		if (ptrace(PTRACE_POKEDATA, tid, from_word, word) < 0)
			return -1;
		at += bytes;
		from += bytes;
		n -= bytes;
	}
	return n ? -1 : 0;
}

/* Some kernels let only ptrace write to what the program itself can't (proc_mem.force_override). */
int target_write(const struct target *t, uint64_t at, const void *from, size_t n)
{
	return pwrite(t->mem, from, n, (off_t)at) == (ssize_t)n ? 0 : poke(t, at, from, n);
}

/* The value of "Name:" in /proc/PID/status as a number, or -1. */
static long status_field(pid_t pid, const char *name)
{
	char path[64], line[256];
	size_t n = strlen(name);
	long value = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	if (!file)
		return -1;
	while (value < 0 && fgets(line, sizeof(line), file))
		if (strncmp(line, name, n) == 0 && line[n] == ':')
			value = strtol(line + n + 1, NULL, 10);
	fclose(file);
	return value;
}

static void command_name(long pid, char name[32])
{
	char path[64];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, name, 31);
		close(fd);
	}
	name[n > 0 ? n - 1 : 0] = 0;
}

static bool same_namespace(pid_t pid, const char *kind)
{
	char path[64];
	struct stat ours, theirs;

	snprintf(path, sizeof(path), "/proc/self/ns/%s", kind);
	if (stat(path, &ours) < 0)
		return true;	/* a kernel without them */
	snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, kind);
	return stat(path, &theirs) == 0 && ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev;
}

int target_auxv(pid_t pid, uint64_t key, uint64_t *value)
{
	uint64_t words[128];
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/auxv", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, words, sizeof(words));
	close(fd);
	for (ssize_t i = 0; i + 1 < n / 8; i += 2)
		if (words[i] == key) {
			*value = words[i + 1];
			return 0;
		}
	return -1;
}

/* Why not this one, in the order in which people can do something about it. */
static int check(pid_t pid)
{
	uint64_t secure = 0;
	long tracer;
	char name[32];

	if (pid <= 0 || status_field(pid, "Pid") < 0)
		return fail("pid %d: no such process", pid);
	if (status_field(pid, "Tgid") != pid)
		return fail("pid %d is a thread of %ld; name the process", pid, status_field(pid, "Tgid"));
	if (pid == getpid() || pid == getppid())
		return fail("pid %d is this program itself", pid);
	tracer = status_field(pid, "TracerPid");
	if (tracer > 0) {
		command_name(tracer, name);
		return fail("pid %d is traced by %s (%ld); detach it first", pid, name, tracer);
	}
	if (access((snprintf(name, sizeof(name), "/proc/%d/mem", pid), name), R_OK | W_OK) < 0)
		return fail("pid %d belongs to another user; run this as root or as its user", pid);
	if (target_auxv(pid, 23 /* AT_SECURE */, &secure) < 0)
		return fail("pid %d has no program (a kernel thread, or it is ending)", pid);
	if (secure)
		return fail("pid %d is set-uid, set-gid or has capabilities of its own; such programs are left alone", pid);
	if (!same_namespace(pid, "mnt") || !same_namespace(pid, "pid"))
		return fail("pid %d runs in another mount or pid namespace (a container), where the control page can't be reached; run peephole in there", pid);
	if (status_field(pid, "Seccomp") > 0)
		return fail("pid %d runs under a seccomp filter, which need not allow the calls that rules make", pid);
	return 0;
}

int target_open_traced(pid_t pid, struct target *t)
{
	char path[64];
	uint8_t ident[20];

	memset(t, 0, sizeof(*t));
	t->pid = pid;
	t->mem = -1;
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	t->mem = open(path, O_RDWR | O_CLOEXEC);
	if (t->mem < 0)
		return fail("pid %d: its memory can't be opened: %s; run this as root or as its user, with kernel.yama.ptrace_scope 0",
			    pid, strerror(errno));
	if (target_read_maps(t) < 0)
		return -1;
	for (size_t i = 0; i < t->n_maps; i++)
		if (t->maps[i].offset == 0 && target_read(t, t->maps[i].start, ident, sizeof(ident)) == 0 &&
		    memcmp(ident, "\177ELF", 4) == 0) {
			if (ident[4] != 2 || ident[18] != 62)
				return fail("pid %d is not a 64-bit x86 program", pid);
			break;
		}
	return 0;
}

int target_open(pid_t pid, struct target *t)
{
	memset(t, 0, sizeof(*t));
	t->mem = -1;
	return check(pid) < 0 ? -1 : target_open_traced(pid, t);
}

void target_close(struct target *t)
{
	if (t->mem >= 0)
		close(t->mem);
	free(t->maps);
	free(t->threads);
	memset(t, 0, sizeof(*t));
	t->mem = -1;
}

int target_read_maps(struct target *t)
{
	char path[64], line[1024];
	size_t room = 0;
	FILE *file;

	free(t->maps);
	t->maps = NULL;
	t->n_maps = 0;
	snprintf(path, sizeof(path), "/proc/%d/maps", t->pid);
	file = fopen(path, "re");
	if (!file)
		return fail("pid %d: its mappings can't be read: %s", t->pid, strerror(errno));
	while (fgets(line, sizeof(line), file)) {
		struct mapping m = { 0 };

		if (sscanf(line, "%lx-%lx %4s %lx %*s %lu %511[^\n]", &m.start, &m.end, m.access, &m.offset, &m.inode,
			   m.path) < 5)
			continue;
		if (t->n_maps == room) {
			struct mapping *grown = realloc(t->maps, (room = room ? room * 2 : 128) * sizeof(*grown));

			if (!grown) {
				fclose(file);
				return fail("out of memory");
			}
			t->maps = grown;
		}
		t->maps[t->n_maps++] = m;
	}
	fclose(file);
	return t->n_maps ? 0 : fail("pid %d has no mappings: it is ending", t->pid);
}

const struct mapping *target_mapping(const struct target *t, uint64_t address)
{
	for (size_t i = 0; i < t->n_maps; i++)
		if (address >= t->maps[i].start && address < t->maps[i].end)
			return &t->maps[i];
	return NULL;
}

const char *mapping_name(const struct mapping *m)
{
	const char *slash = strrchr(m->path, '/');

	return slash ? slash + 1 : m->path;
}

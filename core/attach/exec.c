#define _GNU_SOURCE
#include "exec.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "job.h"
#include "peephole/abi_control.h"
#include "threads.h"

#define LISTS_MAX (4u << 20)

struct program {
	const char *folder, *path;
	bool go, fixed;		/* fixed: linked for one address */
};

/* --- what is known of the file ----------------------------------------------------------------------------------- */

static int look_into(struct program *p)
{
	uint8_t head[4096];
	const Elf64_Ehdr *e = (const Elf64_Ehdr *)head;
	const Elf64_Phdr *segments;
	int fd = open(p->path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, head, sizeof(head));

	if (n < (ssize_t)sizeof(*e) || e->e_phoff + e->e_phnum * sizeof(*segments) > (size_t)n) {
		close(fd);
		return -1;
	}
	p->fixed = e->e_type == ET_EXEC;
	segments = (const Elf64_Phdr *)(head + e->e_phoff);
	for (unsigned i = 0; i < e->e_phnum; i++) {
		uint8_t note[16];

		if (segments[i].p_type == PT_NOTE && pread(fd, note, sizeof(note), (off_t)segments[i].p_offset) == sizeof(note))
			p->go = p->go || memcmp(note + 12, "Go\0", 4) == 0;
	}
	close(fd);
	return 0;
}

/* Runs peephole-sites, which lies where this program does. */
static int make_list(const struct program *p, const char *to)
{
	char tool[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", tool, sizeof(tool) - 32);
	int status = -1;
	pid_t pid;

	if (n <= 0)
		return -1;
	tool[n] = 0;
	slash = strrchr(tool, '/');
	strcpy(slash + 1, "peephole-sites");
	pid = fork();
	if (pid == 0) {
		execl(tool, tool, p->path, to, (char *)NULL);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -1;
}

/* Lists that this tree has needed stay in its folder, by what tells one version of a file from another. */
static int find_list(const struct program *p, uint8_t **list, size_t *bytes)
{
	char name[PATH_MAX], partial[PATH_MAX + 16];
	struct stat st;
	ssize_t n = -1;
	int fd;

	if (stat(p->path, &st) < 0)
		return -1;
	snprintf(name, sizeof(name), "%s/%lx.%lx.%lx.%lx.%lx", p->folder, st.st_dev, st.st_ino, st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
		 st.st_size);
	fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) {
		snprintf(partial, sizeof(partial), "%s.%d", name, getpid());
		if (make_list(p, partial) < 0 || rename(partial, name) < 0) {
			unlink(partial);
			return -1;
		}
		fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	}
	*list = malloc(LISTS_MAX);
	if (fd >= 0 && *list)
		n = read(fd, *list, LISTS_MAX);
	if (fd >= 0)
		close(fd);
	*bytes = n > 0 ? (size_t)n : 0;
	return n > 0 && n < (ssize_t)LISTS_MAX ? 0 : -1;
}

/* --- the helper ---------------------------------------------------------------------------------------------------- */

static void record_uncovered(const char *path, pid_t pid, const char *exe, uint32_t why)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	struct ph_control *control = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint32_t slot;

	if (control == MAP_FAILED || control->magic != PH_CONTROL_MAGIC)
		return;
	slot = __atomic_fetch_add(&control->n_uncovered, 1, __ATOMIC_ACQ_REL);
	if (slot >= PH_UNCOVERED_MAX)
		return;
	control->uncovered[slot].pid = pid;
	snprintf(control->uncovered[slot].exe, sizeof(control->uncovered[slot].exe), "%s", exe);
	control->uncovered[slot].why = why;
}

static uint64_t base_of(const struct job *job, const struct program *p)
{
	uint64_t entry = job->target.held->regs.rip;
	const struct mapping *m = target_mapping(&job->target, entry);

	for (size_t i = 0; m && !p->fixed && i < job->target.n_maps; i++)
		if (job->target.maps[i].inode == m->inode && job->target.maps[i].offset == 0)
			return job->target.maps[i].start;
	return 0;
}

static int put_in(struct job *job, const struct program *p)
{
	uint8_t *list = NULL;
	size_t bytes = 0;
	uint64_t hwcap2 = 0;
	char library[PATH_MAX];
	int r;

	if (look_into((struct program *)p) < 0 || find_list(p, &list, &bytes) < 0)
		return -1;
	target_auxv(job->target.pid, 26, &hwcap2);
	job->live->hwcap2 = (uint32_t)hwcap2;
	job->live->fresh = 1;
	job->live->own_calls = job->live->bare = p->go;
	job->live->n_objects = 1;
	job->live->objects[0].base = base_of(job, p);
	snprintf(job->live->control_path, sizeof(job->live->control_path), "%s/control", p->folder);
	snprintf(job->live->exe, sizeof(job->live->exe), "%s", p->path);
	snprintf(library, sizeof(library), "%s/libpeephole.so", p->folder);
	r = job_put_in(job, library, list, bytes);
	free(list);
	return r;
}

/* Its standard streams and descriptors are the program's, which must not stay open because of it. */
static void let_go_of_everything(int but)
{
	setsid();
	if (but != 3) {
		dup2(but, 3);
		but = 3;
	}
	syscall(SYS_close_range, 4u, ~0u, 0);
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	open("/dev/null", O_RDWR);
	dup2(0, 1);
	dup2(0, 2);
}

static void help(struct program *p, pid_t pid, int ready)
{
	struct job job = { .live = calloc(1, sizeof(*job.live)) };
	char control[PATH_MAX];
	int status, r = -1;

	let_go_of_everything(ready);
	if (!job.live || ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD) < 0)
		return;
	if (write(3, "+", 1) != 1)
		return;
	close(3);
	/* Signals that come before it is exec'd are its own affair. */
	while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status) && status >> 8 != (SIGTRAP | PTRACE_EVENT_EXEC << 8))
		ptrace(PTRACE_CONT, pid, 0, status >> 16 ? 0 : WSTOPSIG(status));
	if (!WIFSTOPPED(status))
		return;
	snprintf(control, sizeof(control), "%s/control", p->folder);
	if (target_open_traced(pid, &job.target) == 0 && thread_hold(&job.target, pid) == 0)
		r = put_in(&job, p);
	if (r)
		record_uncovered(control, pid, p->path, PH_UNCOVERED_STATIC);
	if (job.target.held && job.target.held->changed)
		ptrace(PTRACE_SETREGS, pid, 0, &job.target.held->regs);
	ptrace(PTRACE_DETACH, pid, 0, 0);
}

int exec_covered(const char *folder, const char *program, char **argv)
{
	struct program p = { .folder = folder, .path = program };
	int ready[2];
	pid_t pid = getpid(), middle;
	char c;

	if (pipe2(ready, O_CLOEXEC) == 0) {
		/* A child without a signal at its end, whose own child is adopted by someone else: the program will find no trace. */
		middle = (pid_t)syscall(SYS_clone, 0, 0, 0, 0, 0);
		if (middle == 0) {
			if (fork() == 0)
				help(&p, pid, ready[1]);
			_exit(0);
		}
		close(ready[1]);
		if (middle > 0)
			waitpid(middle, NULL, __WALL);
		if (read(ready[0], &c, 1) != 1)
			c = 0;
		close(ready[0]);
	}
	execv(program, argv);
	fprintf(stderr, "peephole-attach: %s: %s\n", program, strerror(errno));
	return errno == ENOENT ? 127 : 126;
}

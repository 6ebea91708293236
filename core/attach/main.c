/* peephole-attach: puts the runtime into a running process, and takes it out again, by ptrace; and into a static program
 * that is about to begin.
 *
 *   peephole-attach attach PID LIBRARY CONTROL LISTS WORD...
 *   peephole-attach detach PID
 *   peephole-attach exec FOLDER PROGRAM ARGV...		FOLDER holds the control page, the library and this program
 *
 * WORD is object:BASE:OFFSET (hexadecimal: what makes system calls, its list in LISTS), mapped:DEV:INO (a file that is
 * mapped), own (it makes calls of its own) or bare (its stacks are too small for us).
 * The first two print one JSON object; failures are one line on standard error and exit code 1 (130, 143 when
 * interrupted). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "exec.h"
#include "job.h"

/* ctrl-C waits until nothing is half done. */
static void hold_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static void hurry(void)
{
	struct sched_param param = { .sched_priority = 1 };

	sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &param);	/* refused without root: then it takes a little longer */
}

static int read_file(const char *path, uint8_t **bytes, size_t *n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	ssize_t got = -1;

	if (fd >= 0 && fstat(fd, &st) == 0 && (*bytes = malloc((size_t)st.st_size + 1)))
		got = read(fd, *bytes, *n = (size_t)st.st_size);
	if (fd >= 0)
		close(fd);
	return got == (ssize_t)*n ? 0 : fail("%s: can't be read", path);
}

static void name_program(pid_t pid, char *to, size_t room)
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	n = readlink(path, to, room - 1);
	to[n > 0 ? n : 0] = 0;
}

static unsigned count_threads(const struct target *t)
{
	unsigned n = 0;

	for (size_t i = 0; i < t->n_threads; i++)
		n += !t->threads[i].gone;
	return n;
}

static void print_result(const struct job *job, const char *what)
{
	const struct ph_live *live = job->live;

	printf("{\"what\": \"%s\", \"pid\": %d, \"threads\": %u, \"still_ms\": %.3f, \"lent_ms\": %.3f, \"tries\": %d, "
	       "\"patches\": %u, \"tiers\": {\"T1\": %u, \"T1r\": %u, \"T2\": %u, \"T3\": %u}, \"missing\": %u, \"rules\": %s}\n",
	       what, job->target.pid, count_threads(&job->target), (double)job->still_us / 1e3, (double)job->lent_us / 1e3,
	       job->tries, live->n_patches, live->by_tier[1], live->by_tier[2], live->by_tier[4], live->by_tier[5], live->missing,
	       live->own_calls ? "false" : "true");
}

static int take_word(struct ph_live *live, const char *word)
{
	struct ph_live_object *o = &live->objects[live->n_objects];
	struct ph_live_file *f = &live->mapped[live->n_mapped];

	if (strcmp(word, "own") == 0)
		live->own_calls = 1;
	else if (strcmp(word, "bare") == 0)
		live->bare = 1;
	else if (live->n_objects < PH_LIVE_OBJECTS && sscanf(word, "object:%lx:%lx", &o->base, &o->list) == 2)
		live->n_objects++;
	else if (sscanf(word, "mapped:%lu:%lu", &f->dev, &f->ino) == 2)
		live->n_mapped += live->n_mapped + 1 < PH_LIVE_MAPPED;
	else
		return fail("%s: not a word that is known, or one too many", word);
	return 0;
}

static int attach(struct job *job, char **argv)
{
	struct target *t = &job->target;
	uint8_t *lists = NULL;
	size_t bytes = 0;
	uint64_t hwcap2 = 0;
	int r = 0;

	if (read_file(argv[2], &lists, &bytes) < 0)
		return -1;
	target_auxv(t->pid, 26 /* AT_HWCAP2 */, &hwcap2);
	job->live->hwcap2 = (uint32_t)hwcap2;
	snprintf(job->live->control_path, sizeof(job->live->control_path), "%s", argv[1]);
	name_program(t->pid, job->live->exe, sizeof(job->live->exe));
	for (char **word = argv + 3; *word && r == 0; word++)
		r = take_word(job->live, *word);
	if (r == 0)
		r = job_put_in(job, argv[0], lists, bytes);
	free(lists);
	return r;
}

int main(int argc, char **argv)
{
	struct job job = { 0 };
	int r = -1;

	if (argc >= 5 && strcmp(argv[1], "exec") == 0)
		return exec_covered(argv[2], argv[3], argv + 4);
	if (argc < 3 || (strcmp(argv[1], "attach") == 0 ? argc < 6 : strcmp(argv[1], "detach") != 0 || argc != 3)) {
		fprintf(stderr, "usage: peephole-attach attach PID LIBRARY CONTROL LISTS WORD... | detach PID | exec FOLDER PROGRAM ARGV...\n");
		return 2;
	}
	hold_signals();
	job.live = calloc(1, sizeof(*job.live));
	if (job.live && target_open(atoi(argv[2]), &job.target) == 0) {
		hurry();
		r = argv[1][0] == 'a' ? attach(&job, argv + 3) : job_take_out(&job);
		if (r == 0)
			print_result(&job, argv[1]);
	}
	target_close(&job.target);
	return r < 0 ? 1 : r;
}

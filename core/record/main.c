/* peephole-record: spill a record of every system call of a process tree, that of a command or one that runs.
 *
 *	peephole-record --probe [--hook tp_btf|raw_tp] [--full]
 *	peephole-record --out FOLDER [options] -- COMMAND...
 *	peephole-record --out FOLDER [options] --pid PID | --cgroup FOLDER
 *	peephole-record --unpack FOLDER
 *
 *	--ring BYTES	of each CPU's ring; default: see engine.c
 *	--hook HOOK	tp_btf or raw_tp only
 *	--full		enter times too
 *	--stacks	sampled stacks and cpu-clock ticks, unwound
 *	--grace SECONDS	how long processes that outlive COMMAND are followed; default 10
 *
 * FOLDER exists and is private; what is left in it is described in peephole/abi_record.h. --unpack makes rows of the
 * records in it, which is left for the time when nothing is recorded any more.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"
#include "join.h"
#include "launch.h"
#include "peephole/abi_record.h"
#include "unpack.h"
#include "unwind.h"

#define IDLE_NS 10000000L	/* at 4 M events/s a twentieth of the ring */
#define RESCAN_NS 250000000ll	/* of a cgroup, for processes that were moved into it */
#define GRACE_NS 10000000000ll
#define SAMPLE_HZ 499		/* a prime: in step with nothing */
#define COUNTS_BYTES (PH_CPUS_MAX * 56)

/* Exit codes, read by observe/ebpf.py. */
enum { DONE = 0, USAGE = 2, REFUSED = 3, NOT_STARTED = 4, NOT_WRITTEN = 5, NOT_FOUND = 6 };

struct options {
	struct ph_engine_options engine;
	const char *folder;
	const char *cgroup;
	const char *unpack;
	pid_t pid;
	int probe;
	int64_t grace_ns;
	char **command;
};

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static int parse_one(struct options *options, int c)
{
	switch (c) {
	case 'o': options->folder = optarg; break;
	case 'r': options->engine.ring_bytes = strtoull(optarg, NULL, 10); break;
	case 'k': options->engine.hook = optarg; break;
	case 'P': options->probe = 1; break;
	case 'u': options->unpack = optarg; break;
	case 'f': options->engine.full = 1; break;
	case 's': options->engine.stacks = 1; options->engine.sample_hz = SAMPLE_HZ; break;
	case 'p': options->pid = atoi(optarg); break;
	case 'c': options->cgroup = optarg; break;
	case 'g': options->grace_ns = strtod(optarg, NULL) * 1e9; break;
	default: return -EINVAL;
	}
	return 0;
}

static int parse(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
		{ "out", 1, NULL, 'o' }, { "ring", 1, NULL, 'r' }, { "hook", 1, NULL, 'k' }, { "probe", 0, NULL, 'P' },
		{ "full", 0, NULL, 'f' }, { "stacks", 0, NULL, 's' }, { "pid", 1, NULL, 'p' }, { "cgroup", 1, NULL, 'c' },
		{ "grace", 1, NULL, 'g' }, { "unpack", 1, NULL, 'u' }, { 0 } };
	int c, joins;

	*options = (struct options){ .grace_ns = GRACE_NS };
	while ((c = getopt_long(argc, argv, "+", longs, NULL)) != -1)
		if (parse_one(options, c))
			return -EINVAL;
	options->command = argv + optind;
	joins = !!options->pid + !!options->cgroup;
	if (options->probe || options->unpack)
		return 0;
	return options->folder && joins + (optind < argc) == 1 ? 0 : -EINVAL;
}

struct ending {
	int64_t started_ns;
	int64_t command_ns;	/* when COMMAND ended; 0: there is none */
	int64_t cpu_ns;		/* what COMMAND and all that it waited for took */
	int status;
	pid_t pid;
	int left;		/* observed processes that go on */
};

static int finish(struct ph_spill *spill, const struct ph_engine *engine, const struct ending *ending)
{
	size_t n = COUNTS_BYTES + 1024;
	char *counts = calloc(1, COUNTS_BYTES), *text = calloc(1, n);
	int err = -ENOMEM;

	if (counts && text) {
		err = ph_engine_counts(engine, counts, COUNTS_BYTES);
		if (err >= 0) {
			snprintf(text, n, "{\"version\":%d,\"hook\":\"%s\",\"started_ns\":%lld,\"ended_ns\":%lld,"
				 "\"stacks_unknown\":%llu,\"command_ns\":%lld,\"cpu_ns\":%lld,\"left\":%d,\"status\":%d,\"pid\":%d,\"missed\":%llu,"
				 "\"cpus\":[%s]}\n",
				 PH_RECORD_VERSION, ph_engine_hook(engine), (long long)ending->started_ns,
				 (long long)now_ns(),
				 (unsigned long long)(spill->unwinder ? ph_unwinder_unknown(spill->unwinder) : 0),
				 (long long)ending->command_ns, (long long)ending->cpu_ns, ending->left, ending->status,
				 ending->pid, (unsigned long long)ph_engine_missed(engine), counts);
			err = ph_spill_text(spill, "end.json", text);
		}
	}
	free(counts);
	free(text);
	return err < 0 ? err : 0;
}

/* What a reader needs even when we are killed before the end. */
static int begin(struct ph_spill *spill, const struct ph_engine *engine, int64_t started_ns)
{
	char text[1024], arity[PH_NR_MAX + 1];

	ph_engine_arity(engine, arity);
	snprintf(text, sizeof(text), "{\"version\":%d,\"hook\":\"%s\",\"started_ns\":%lld,\"arity\":\"%s\"}\n",
		 PH_RECORD_VERSION, ph_engine_hook(engine), (long long)started_ns, arity);
	return ph_spill_text(spill, "begin.json", text);
}

/* A recording in progress. The command is never held up: when the spill fails, recording ends and the command goes on. */
struct session {
	struct ph_engine *engine;
	struct ph_spill *spill;
	int attached;
	long taken;
};

static void drain(struct session *session)
{
	if (!session->attached)
		return;
	session->taken = ph_engine_drain(session->engine, session->spill);
	/* Nothing to do: what is known so far goes to the disk, in case that we are killed. */
	if (!session->taken)
		session->taken = ph_spill_flush(session->spill);
	if (session->taken < 0) {
		ph_engine_detach(session->engine);
		session->attached = 0;
	}
}

static long pause_ns(const struct session *session)
{
	/* Mappings are told in a small ring of their own. */
	if (session->spill->unwinder)
		return IDLE_NS / 8;
	return session->taken > 0 ? IDLE_NS / 4 : IDLE_NS;
}

static void stop(struct session *session)
{
	if (!session->attached)
		return;
	ph_engine_detach(session->engine);
	/* A program that was running when its link went may still be finishing a record. */
	for (int quiet = 0; quiet < 2;) {
		session->taken = ph_engine_drain(session->engine, session->spill);
		if (session->taken < 0)
			break;
		quiet = session->taken ? 0 : quiet + 1;
		usleep(2000);
	}
}

static void follow_command(struct session *session, struct ph_launch *launch, struct ending *ending, int64_t grace_ns)
{
	while (!ph_launch_wait(launch, pause_ns(session), &ending->status))
		drain(session);
	ending->command_ns = now_ns();
	ending->cpu_ns = launch->cpu_ns;
	/* Its last record may still come, and with it the count of the living; ctrl-C then means us. */
	while (session->attached && ph_engine_alive(session->engine) > 0 && now_ns() - ending->command_ns < grace_ns) {
		drain(session);
		if (ph_launch_asked_to_end(pause_ns(session)))
			break;
	}
	ending->left = ph_engine_alive(session->engine);
	stop(session);
}

static int list(const struct options *options, struct ph_pids *pids)
{
	pids->n = 0;
	return options->pid ? ph_pids_add_tree(pids, options->pid) : ph_pids_add_cgroup(pids, options->cgroup);
}

/* Until a signal asks to end, or, for a process, until the last of its tree has ended. */
static int follow_joined(struct session *session, const struct options *options, struct ending *ending)
{
	struct ph_pids pids = { 0 };
	int64_t scanned_ns = now_ns();
	int err = list(options, &pids);

	if (!err)
		err = ph_engine_join(session->engine, pids.pids, pids.n);
	if (!err && options->pid)
		err = -ESRCH;
	while (err >= 0 && session->attached) {
		drain(session);
		if (ph_launch_asked_to_end(pause_ns(session)))
			break;
		if (options->pid && ph_engine_alive(session->engine) <= 0)
			break;
		if (options->cgroup && now_ns() - scanned_ns > RESCAN_NS) {
			scanned_ns = now_ns();
			if (list(options, &pids))
				break;	/* the cgroup is gone */
			ph_engine_join(session->engine, pids.pids, pids.n);
		}
	}
	ph_pids_fini(&pids);
	ending->left = ph_engine_alive(session->engine);
	stop(session);
	return err < 0 ? err : 0;
}

static void watch_python(const struct session *session)
{
	if (session->spill->unwinder)
		ph_unwinder_watch_python(session->spill->unwinder, ph_engine_python, session->engine);
}

static int refuse(struct ph_spill *spill, int code, const char *why)
{
	ph_spill_text(spill, "error", why);
	return code;
}

static int refuse_number(struct ph_spill *spill, int code, int err)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", -err);
	return refuse(spill, code, number);
}

static int write_end(struct ph_spill *spill, const struct ph_engine *engine, const struct ending *ending)
{
	int err = ph_spill_flush(spill);

	if (!err)
		err = finish(spill, engine, ending);
	/* With the disk full, this may not get written either: the exit code says it. */
	return err ? refuse(spill, NOT_WRITTEN, strerror(-err)) : DONE;
}

static int record_joined(const struct options *options, struct ph_spill *spill)
{
	struct session session = { .spill = spill, .attached = 1 };
	struct ending ending = { .started_ns = now_ns(), .pid = options->pid };
	struct ph_launch launch;
	char why[256] = "";
	int err, code;

	ph_launch_none(&launch);
	if (ph_engine_new(&options->engine, why, &session.engine))
		return refuse(spill, REFUSED, why);
	err = begin(spill, session.engine, ending.started_ns);
	if (err) {
		ph_engine_free(session.engine);
		return refuse(spill, NOT_WRITTEN, strerror(-err));
	}
	watch_python(&session);
	err = follow_joined(&session, options, &ending);
	code = err ? refuse_number(spill, NOT_FOUND, err) : write_end(spill, session.engine, &ending);
	ph_engine_free(session.engine);
	return code;
}

static int record_command(struct options *options, struct ph_spill *spill)
{
	struct session session = { .spill = spill, .attached = 1 };
	struct ending ending = { 0 };
	struct ph_launch launch;
	char why[256] = "", path[4096];
	uint64_t cookie = 0;
	int err;

	err = ph_launch_find(options->command[0], path, sizeof(path));
	if (err)
		return refuse_number(spill, NOT_STARTED, err);
	/* An int's worth of positive bits, as prctl's option has; far from the real options. */
	if (getrandom(&cookie, sizeof(cookie), 0) < 0)
		cookie = now_ns();
	options->engine.cookie = cookie = (cookie & 0x3fffffff) | 0x40000000;
	/* Forked before the maps exist, so that the command inherits none of the recorder's memory. */
	err = ph_launch_init(&launch, path, options->command, cookie);
	if (err)
		return refuse(spill, REFUSED, "no process can be started");
	err = ph_engine_new(&options->engine, why, &session.engine);
	if (err) {
		ph_launch_cancel(&launch);
		return refuse(spill, REFUSED, why);
	}
	ending.started_ns = now_ns();
	ending.pid = launch.pid;
	err = begin(spill, session.engine, ending.started_ns);
	if (err) {
		ph_launch_cancel(&launch);
		ph_engine_free(session.engine);
		return refuse(spill, NOT_WRITTEN, strerror(-err));
	}
	watch_python(&session);
	err = ph_launch_go(&launch);
	if (err) {
		ph_engine_free(session.engine);
		return refuse_number(spill, NOT_STARTED, err);
	}
	follow_command(&session, &launch, &ending, options->grace_ns);
	err = write_end(spill, session.engine, &ending);
	ph_engine_free(session.engine);
	return err;
}

static int probe(struct ph_engine_options *options)
{
	struct ph_engine *engine = NULL;
	char why[256] = "";

	options->cookie = 1;
	options->ring_bytes = 1 << 20;
	if (ph_engine_new(options, why, &engine)) {
		puts(why);
		return REFUSED;
	}
	puts(ph_engine_hook(engine));
	ph_engine_free(engine);
	return DONE;
}

int main(int argc, char **argv)
{
	struct options options;
	struct ph_spill spill;
	int code;

	if (parse(argc, argv, &options)) {
		fputs("usage: peephole-record --probe | --unpack FOLDER | --out FOLDER [options] -- COMMAND... | --pid PID | --cgroup FOLDER\n",
		      stderr);
		return USAGE;
	}
	if (options.probe)
		return probe(&options.engine);
	if (options.unpack)
		return ph_unpack(options.unpack) ? NOT_WRITTEN : DONE;
	code = ph_spill_init(&spill, options.folder, options.engine.stacks);
	if (code)
		code = NOT_WRITTEN;
	else
		code = options.pid || options.cgroup ? record_joined(&options, &spill) : record_command(&options, &spill);
	ph_spill_fini(&spill);
	return code;
}

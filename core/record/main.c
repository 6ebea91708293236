/* peephole-record: run a command and spill a record of every system call of its process tree.
 *
 *	peephole-record --probe [--hook tp_btf|raw_tp]
 *	peephole-record --out FOLDER [--ring BYTES] [--hook tp_btf|raw_tp] -- COMMAND...
 *
 * FOLDER exists and is private; what is left in it is described in peephole/abi_record.h.
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
#include "launch.h"
#include "peephole/abi_record.h"

#define RING_BYTES (64u << 20)
#define IDLE_NS 10000000L	/* at 4 M events/s a tenth of the ring */
#define COUNTS_BYTES (PH_CPUS_MAX * 48)

/* Exit codes, read by observe/ebpf.py. */
enum { DONE = 0, USAGE = 2, REFUSED = 3, NOT_STARTED = 4, NOT_WRITTEN = 5 };

struct options {
	const char *folder;
	const char *hook;
	size_t ring_bytes;
	int probe;
	char **command;
};

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static int parse(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = { { "out", 1, NULL, 'o' }, { "ring", 1, NULL, 'r' },
					       { "hook", 1, NULL, 'k' }, { "probe", 0, NULL, 'p' }, { 0 } };
	int c;

	*options = (struct options){ .ring_bytes = RING_BYTES };
	while ((c = getopt_long(argc, argv, "+", longs, NULL)) != -1) {
		if (c == 'o')
			options->folder = optarg;
		else if (c == 'r')
			options->ring_bytes = strtoull(optarg, NULL, 10);
		else if (c == 'k')
			options->hook = optarg;
		else if (c == 'p')
			options->probe = 1;
		else
			return -EINVAL;
	}
	options->command = argv + optind;
	return options->probe || (options->folder && optind < argc) ? 0 : -EINVAL;
}

static int finish(struct ph_spill *spill, const struct ph_engine *engine, int64_t started_ns, int status, pid_t pid)
{
	size_t n = COUNTS_BYTES + 1024;
	char *counts = calloc(1, COUNTS_BYTES), *text = calloc(1, n);
	int err = -ENOMEM;

	if (counts && text) {
		err = ph_engine_counts(engine, counts, COUNTS_BYTES);
		if (err >= 0) {
			snprintf(text, n, "{\"version\":%d,\"hook\":\"%s\",\"started_ns\":%lld,\"ended_ns\":%lld,"
				 "\"status\":%d,\"pid\":%d,\"calls\":%llu,\"missed\":%llu,\"cpus\":[%s]}\n",
				 PH_RECORD_VERSION, ph_engine_hook(engine), (long long)started_ns, (long long)now_ns(),
				 status, pid, (unsigned long long)spill->n_calls,
				 (unsigned long long)ph_engine_missed(engine), counts);
			err = ph_spill_text(spill, "end.json", text);
		}
	}
	free(counts);
	free(text);
	return err < 0 ? err : 0;
}

/* The command is never held up: when the spill fails, recording ends and the command goes on. */
static int follow(struct ph_engine *engine, struct ph_spill *spill, struct ph_launch *launch)
{
	int status = 0, attached = 1;
	long taken = 0;

	while (!ph_launch_wait(launch, taken > 0 ? IDLE_NS / 4 : IDLE_NS, &status)) {
		if (attached)
			taken = ph_engine_drain(engine, spill);
		if (attached && taken < 0) {
			ph_engine_detach(engine);
			attached = 0;
		}
	}
	if (!attached)
		return status;
	ph_engine_detach(engine);
	/* A program that was running when its link went may still be finishing a record. */
	for (int quiet = 0; quiet < 2;) {
		taken = ph_engine_drain(engine, spill);
		if (taken < 0)
			break;
		quiet = taken ? 0 : quiet + 1;
		usleep(2000);
	}
	return status;
}

static int refuse(struct ph_spill *spill, int code, const char *why)
{
	ph_spill_text(spill, "error", why);
	return code;
}

static int record(const struct options *options, struct ph_spill *spill)
{
	struct ph_engine *engine = NULL;
	struct ph_launch launch;
	char why[256] = "", path[4096];
	int64_t started_ns;
	uint64_t cookie = 0;
	int err, status;

	err = ph_launch_find(options->command[0], path, sizeof(path));
	if (err) {
		snprintf(why, sizeof(why), "%d", -err);
		return refuse(spill, NOT_STARTED, why);
	}
	/* An int's worth of positive bits, as prctl's option has; far from the real options. */
	if (getrandom(&cookie, sizeof(cookie), 0) < 0)
		cookie = now_ns();
	cookie = (cookie & 0x3fffffff) | 0x40000000;
	/* Forked before the maps exist, so that the command inherits none of the recorder's memory. */
	err = ph_launch_init(&launch, path, options->command, cookie);
	if (err)
		return refuse(spill, REFUSED, "no process can be started");
	err = ph_engine_new(options->hook, options->ring_bytes, cookie, why, &engine);
	if (err) {
		ph_launch_cancel(&launch);
		return refuse(spill, REFUSED, why);
	}
	started_ns = now_ns();
	err = ph_launch_go(&launch);
	if (err) {
		snprintf(why, sizeof(why), "%d", -err);
		ph_engine_free(engine);
		return refuse(spill, NOT_STARTED, why);
	}
	status = follow(engine, spill, &launch);
	err = ph_spill_flush(spill);
	if (!err)
		err = finish(spill, engine, started_ns, status, launch.pid);
	ph_engine_free(engine);
	/* With the disk full, this may not get written either: the exit code says it. */
	if (err)
		return refuse(spill, NOT_WRITTEN, strerror(-err));
	return DONE;
}

static int probe(const char *hook)
{
	struct ph_engine *engine = NULL;
	char why[256] = "";

	if (ph_engine_new(hook, RING_BYTES, 1, why, &engine)) {
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
		fputs("usage: peephole-record --probe | --out FOLDER [--ring BYTES] [--hook HOOK] -- COMMAND...\n", stderr);
		return USAGE;
	}
	if (options.probe)
		return probe(options.hook);
	code = ph_spill_init(&spill, options.folder);
	if (code)
		code = NOT_WRITTEN;
	else
		code = record(&options, &spill);
	ph_spill_fini(&spill);
	return code;
}

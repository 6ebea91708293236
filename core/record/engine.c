#include "engine.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arity.h"
#include "callring.h"
#include "clock.h"
#include "peephole/abi_record.h"
#include "record.skel.h"
#include "ring.h"
#include "shapes.h"

#define EVENTS_BYTES (4u << 20)	/* of short processes, whose events are 600 bytes, half a second's */
#define SAMPLES_BYTES (4u << 20)
#define UNUSED_BYTES 4096u		/* the smallest that a ring can be */
#define RING_MIN_BYTES 65536u
#define WANTED_MAX 65536	/* processes that can be joined */
#define PYTHONS_MAX 4096
#define DRAINS_MAX 16
#define PID_NS_INITIAL 0xeffffffcu	/* PROC_PID_INIT_INO: linux/proc_ns.h */

struct ph_engine {
	struct record *skel;
	struct ph_callrings calls;
	struct ph_ring events, samples;
	struct ph_clock clock;
	const char *hook;
};

/* The verifier's log is for us, not for users. */
static int keep_warning(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	return getenv("PEEPHOLE_RECORD_DEBUG") ? vfprintf(stderr, format, args) : 0;
}

static void fill_shapes(struct record *skel)
{
	for (unsigned int nr = 0; nr < PH_NR_MAX; nr++) {
		unsigned int n = 6;

		if (nr < sizeof(call_arity) - 1)
			n = call_arity[nr] - '0';
		else if (nr >= ARITY_LATE_FROM && nr < ARITY_LATE_FROM + sizeof(call_arity_late) - 1)
			n = call_arity_late[nr - ARITY_LATE_FROM] - '0';
		skel->rodata->shapes[nr] = PH_SHAPE_ARGS(n);
	}
	for (size_t i = 0; i < sizeof(call_shapes) / sizeof(call_shapes[0]); i++) {
		unsigned int shape = call_shapes[i].shape;

		if (shape & PH_SHAPE_RETURNS || PH_SHAPE_ARG(shape, 0) || PH_SHAPE_ARG(shape, 9))
			shape |= PH_SHAPE_NAMES;
		if (PH_SHAPE_ARG(shape, 3) || PH_SHAPE_ARG(shape, 15))
			shape |= PH_SHAPE_BYTES;
		skel->rodata->shapes[call_shapes[i].nr] |= shape;
	}
}

/* What a kernel may lack; each level goes without more. */
enum level { ALL, NO_URING, NO_BTF, LEVELS };

static void choose_hooks(struct record *skel, enum level level, const struct ph_engine_options *options)
{
	int btf = level < NO_BTF;

	bpf_program__set_autoload(skel->progs.btf_sys_exit, btf);
	bpf_program__set_autoload(skel->progs.btf_sys_enter, btf && options->full);
	bpf_program__set_autoload(skel->progs.btf_fork, btf);
	bpf_program__set_autoload(skel->progs.btf_exec, btf);
	bpf_program__set_autoload(skel->progs.btf_exit, btf);
	bpf_program__set_autoload(skel->progs.btf_switch, btf);
	bpf_program__set_autoload(skel->progs.btf_uring_submit, level < NO_URING);
	bpf_program__set_autoload(skel->progs.btf_uring_complete, level < NO_URING);
	bpf_program__set_autoload(skel->progs.raw_sys_exit, !btf);
	bpf_program__set_autoload(skel->progs.raw_sys_enter, !btf && options->full);
	bpf_program__set_autoload(skel->progs.raw_fork, !btf);
	bpf_program__set_autoload(skel->progs.raw_exec, !btf);
	bpf_program__set_autoload(skel->progs.raw_exit, !btf);
	bpf_program__set_autoload(skel->progs.each_task, !options->cookie);
	bpf_program__set_autoload(skel->progs.cpu_clock, options->sample_hz != 0);
}

static uint32_t own_namespace(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) ? 0 : st.st_ino;
}

/* No thread's number reaches it, rounded up to a power of two. Where numbers are counted apart, in a pid namespace of
 * our own, the limit seen is not that of the kernel's numbers. */
static uint32_t tids_max(void)
{
	FILE *file = own_namespace() == PID_NS_INITIAL ? fopen("/proc/sys/kernel/pid_max", "re") : NULL;
	unsigned int wanted = PH_TID_MAX, tids = 4096;

	if (file && fscanf(file, "%u", &wanted) != 1)
		wanted = PH_TID_MAX;
	if (file)
		fclose(file);
	while (tids < wanted && tids < PH_TID_MAX)
		tids *= 2;
	return tids;
}

static size_t samples_bytes(const struct ph_engine_options *options)
{
	return options->sample_hz ? SAMPLES_BYTES : UNUSED_BYTES;
}

/* No larger than needed: the kernel clears each page of each map before the command can start. */
static int size_maps(struct record *skel, const struct ph_engine_options *options, size_t ring_bytes)
{
	struct { struct bpf_map *map; size_t entries; } entries[] = {
		{ skel->maps.rings, libbpf_num_possible_cpus() }, { skel->maps.event_scratches, libbpf_num_possible_cpus() },
		{ skel->maps.events, EVENTS_BYTES }, { skel->maps.samples, samples_bytes(options) },
		{ skel->maps.wanted, options->cookie ? 1 : WANTED_MAX }, { skel->maps.joined, options->cookie ? 1 : WANTED_MAX },
		{ skel->maps.pythons, options->stacks ? PYTHONS_MAX : 1 } };
	uint32_t tids = tids_max(), notes = tids < PH_NOTES ? tids : PH_NOTES;
	int err;

	skel->rodata->ring_mask = ring_bytes - 1;
	skel->rodata->tid_mask = tids - 1;
	skel->rodata->note_mask = notes - 1;
	err = bpf_map__set_value_size(skel->maps.image_of, tids * sizeof(uint32_t));
	if (!err)
		err = bpf_map__set_value_size(skel->maps.notes, notes * sizeof(struct ph_note));
	if (!err)
		err = bpf_map__set_value_size(skel->maps.rings, ph_callrings_element(ring_bytes));
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]) && !err; i++)
		err = bpf_map__set_max_entries(entries[i].map, entries[i].entries);
	return err;
}

static int load(enum level level, const struct ph_engine_options *options, size_t ring_bytes, struct record **out)
{
	struct record *skel = record__open();
	int err;

	if (!skel)
		return -errno;
	choose_hooks(skel, level, options);
	fill_shapes(skel);
	skel->rodata->cookie = options->cookie;
	skel->rodata->full = options->full;
	skel->rodata->stacks = options->stacks;
	skel->rodata->own_ns = own_namespace();
	err = size_maps(skel, options, ring_bytes);
	if (!err)
		err = record__load(skel);
	if (!err)
		err = record__attach(skel);
	if (err) {
		record__destroy(skel);
		return err;
	}
	*out = skel;
	return 0;
}

static void explain(int err, char why[256])
{
	if (err == -EPERM || err == -EACCES)
		snprintf(why, 256, geteuid() ? "BPF needs root (or CAP_BPF and CAP_PERFMON)" :
			 "the kernel refuses BPF programs here (%s)", strerror(-err));
	else if (err == -ENOMEM)
		snprintf(why, 256, "there is not enough memory for the rings; make them smaller");
	else if (access("/sys/kernel/btf/vmlinux", R_OK))
		snprintf(why, 256, "the kernel has no BTF (/sys/kernel/btf/vmlinux)");
	else
		snprintf(why, 256, "the kernel refuses the BPF programs: %s", strerror(-err));
	why[strcspn(why, "\n")] = 0;
}

/* 64 MiB in all, yet 8 MiB for each CPU, which at 4 M calls a second is 40 ms; what is more costs time at the start. */
static size_t ring_size(size_t wanted)
{
	size_t cpus = libbpf_num_possible_cpus(), bytes = RING_MIN_BYTES, limit = wanted;

	if (!wanted)
		limit = cpus < 8 ? (64u << 20) / cpus : 8u << 20;
	while (wanted ? bytes * 2 <= limit : bytes < limit)
		bytes *= 2;
	return bytes;
}

static int open_rings(struct ph_engine *engine, const struct ph_engine_options *options, size_t ring_bytes)
{
	struct record *skel = engine->skel;
	int err = ph_callrings_init(&engine->calls, bpf_map__fd(skel->maps.rings), ring_bytes, libbpf_num_possible_cpus());

	if (!err)
		err = ph_ring_init(&engine->events, bpf_map__fd(skel->maps.events), EVENTS_BYTES);
	if (!err)
		err = ph_ring_init(&engine->samples, bpf_map__fd(skel->maps.samples), samples_bytes(options));
	if (!err && options->sample_hz)
		err = ph_clock_init(&engine->clock, bpf_program__fd(skel->progs.cpu_clock), options->sample_hz);
	return err;
}

int ph_engine_new(const struct ph_engine_options *options, char why[256], struct ph_engine **out)
{
	static const char *const hooks[LEVELS] = { "tp_btf", "tp_btf", "raw_tp" };
	size_t ring_bytes = ring_size(options->ring_bytes);
	struct ph_engine *engine = calloc(1, sizeof(*engine));
	int err = -EINVAL;

	if (!engine)
		return -ENOMEM;
	libbpf_set_print(keep_warning);
	for (enum level level = ALL; level < LEVELS; level++) {
		if (options->hook && strcmp(options->hook, hooks[level]))
			continue;
		engine->hook = hooks[level];
		err = load(level, options, ring_bytes, &engine->skel);
		if (!err)
			break;
	}
	if (!err)
		err = open_rings(engine, options, ring_bytes);
	if (err) {
		explain(err, why);
		ph_engine_free(engine);
		return err;
	}
	*out = engine;
	return 0;
}

void ph_engine_free(struct ph_engine *engine)
{
	if (!engine)
		return;
	ph_clock_fini(&engine->clock);
	ph_callrings_fini(&engine->calls);
	ph_ring_fini(&engine->events);
	ph_ring_fini(&engine->samples);
	if (engine->skel)
		record__destroy(engine->skel);
	free(engine);
}

static int walk_tasks(struct bpf_link *link)
{
	int fd = bpf_iter_create(bpf_link__fd(link)), err = 0;
	char byte[64];
	ssize_t n;

	if (fd < 0)
		return fd;
	while ((n = read(fd, byte, sizeof(byte))) > 0 || (n < 0 && errno == EINTR))
		;
	if (n < 0)
		err = -errno;
	close(fd);
	return err;
}

static void empty(int map_fd)
{
	uint32_t key;

	while (!bpf_map_get_next_key(map_fd, NULL, &key))
		bpf_map_delete_elem(map_fd, &key);
}

int ph_engine_join(struct ph_engine *engine, const uint32_t *pids, size_t n)
{
	int wanted = bpf_map__fd(engine->skel->maps.wanted), found = 0, err = 0;
	uint32_t value = 0;

	for (size_t i = 0; i < n && !err; i++)
		err = bpf_map_update_elem(wanted, &pids[i], &value, BPF_ANY);
	for (int pass = 0; pass < 2 && !err; pass++)
		err = walk_tasks(engine->skel->links.each_task);
	for (size_t i = 0; i < n; i++)
		found += !bpf_map_lookup_elem(wanted, &pids[i], &value) && value;
	/* Numbers are used again: what is left here would join a stranger the next time. */
	empty(wanted);
	empty(bpf_map__fd(engine->skel->maps.joined));
	return err ? err : found;
}

void ph_engine_python(void *context, uint32_t pid, const struct ph_python *python)
{
	struct ph_engine *engine = context;

	bpf_map_update_elem(bpf_map__fd(engine->skel->maps.pythons), &pid, python, BPF_ANY);
}

int ph_engine_alive(const struct ph_engine *engine)
{
	return __atomic_load_n(&engine->skel->bss->alive, __ATOMIC_RELAXED);
}

/* Births before what the born did: their stacks need their parents' mappings. */
static long drain_once(struct ph_engine *engine, struct ph_spill *spill)
{
	long events, calls, samples;

	ph_callrings_look(&engine->calls);
	events = ph_ring_drain(&engine->events, ph_spill_event, spill);
	if (events < 0)
		return events;
	calls = ph_callrings_drain(&engine->calls, ph_spill_calls, spill);
	if (calls < 0)
		return calls;
	samples = ph_ring_drain(&engine->samples, ph_spill_sample, spill);
	return samples < 0 ? samples : calls + events + samples;
}

/* Until everything was read for a moment, which lets the rings start again (struct ph_ring_head). */
long ph_engine_drain(struct ph_engine *engine, struct ph_spill *spill)
{
	long taken = drain_once(engine, spill), more = taken;

	for (int i = 0; i < DRAINS_MAX && more > 0; i++) {
		more = drain_once(engine, spill);
		taken += more > 0 ? more : 0;
	}
	return more < 0 ? more : taken;
}

void ph_engine_detach(struct ph_engine *engine)
{
	ph_clock_fini(&engine->clock);
	record__detach(engine->skel);
}

const char *ph_engine_hook(const struct ph_engine *engine)
{
	return engine->hook;
}

void ph_engine_arity(const struct ph_engine *engine, char *text)
{
	for (unsigned int nr = 0; nr < PH_NR_MAX; nr++)
		text[nr] = '0' + PH_SHAPE_ARG(engine->skel->rodata->shapes[nr], 20);
	text[PH_NR_MAX] = 0;
}

int ph_engine_counts(const struct ph_engine *engine, char *text, size_t n)
{
	int at = 0;

	for (int i = 0; i < engine->calls.n_cpus && i < PH_CPUS_MAX; i++) {
		const struct ph_cpu_count *count = (const void *)&engine->skel->bss->counts[i];
		const struct ph_ring_head *head = ph_callrings_head(&engine->calls, i);

		at += snprintf(text + at, n - at, "%s[%u,%u,%u,%u,%u]", i ? "," : "", head->seq, head->lost,
			       count->events_lost, head->paths_unread, count->samples_lost);
		if ((size_t)at >= n)
			return -ENOSPC;
	}
	return at;
}

/* Runs that the kernel skipped because a program of ours was already running on that CPU. */
uint64_t ph_engine_missed(const struct ph_engine *engine)
{
	uint64_t missed = 0;
	struct bpf_program *prog;

	bpf_object__for_each_program(prog, engine->skel->obj) {
		struct bpf_prog_info info = { 0 };
		__u32 len = sizeof(info);

		if (bpf_program__fd(prog) >= 0 && !bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &len))
			missed += info.recursion_misses;
	}
	return missed;
}

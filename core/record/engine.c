#include "engine.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peephole/abi_record.h"
#include "record.skel.h"
#include "ring.h"
#include "shapes.h"

#define EVENTS_BYTES (16u << 20)

struct ph_engine {
	struct record *skel;
	struct ph_ring calls, events;
	const char *hook;
};

/* The verifier's log is for us, not for users: only the last line of libbpf's complaints is kept. */
static char last_warning[200];

static int keep_warning(enum libbpf_print_level level, const char *format, va_list args)
{
	if (getenv("PEEPHOLE_RECORD_DEBUG"))
		return vfprintf(stderr, format, args);
	if (level == LIBBPF_WARN && !last_warning[0])
		vsnprintf(last_warning, sizeof(last_warning), format, args);
	return 0;
}

static void fill_shapes(struct record *skel)
{
	for (size_t i = 0; i < sizeof(call_shapes) / sizeof(call_shapes[0]); i++)
		skel->rodata->shapes[call_shapes[i].nr] = call_shapes[i].shape;
}

static void choose_hooks(struct record *skel, int btf)
{
	bpf_program__set_autoload(skel->progs.btf_sys_exit, btf);
	bpf_program__set_autoload(skel->progs.btf_fork, btf);
	bpf_program__set_autoload(skel->progs.btf_exec, btf);
	bpf_program__set_autoload(skel->progs.btf_exit, btf);
	bpf_program__set_autoload(skel->progs.raw_sys_exit, !btf);
	bpf_program__set_autoload(skel->progs.raw_fork, !btf);
	bpf_program__set_autoload(skel->progs.raw_exec, !btf);
	bpf_program__set_autoload(skel->progs.raw_exit, !btf);
}

static int load(int btf, size_t ring_bytes, uint64_t cookie, struct record **out)
{
	struct record *skel = record__open();
	int err;

	if (!skel)
		return -errno;
	choose_hooks(skel, btf);
	fill_shapes(skel);
	skel->rodata->cookie = cookie;
	err = bpf_map__set_max_entries(skel->maps.calls, ring_bytes);
	if (!err)
		err = bpf_map__set_max_entries(skel->maps.event_scratches, libbpf_num_possible_cpus());
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
	else if (access("/sys/kernel/btf/vmlinux", R_OK))
		snprintf(why, 256, "the kernel has no BTF (/sys/kernel/btf/vmlinux)");
	else
		snprintf(why, 256, "the kernel refuses the BPF programs: %s", strerror(-err));
	why[strcspn(why, "\n")] = 0;
}

int ph_engine_new(const char *hook, size_t ring_bytes, uint64_t cookie, char why[256], struct ph_engine **out)
{
	static const char *const hooks[] = { "tp_btf", "raw_tp" };
	struct ph_engine *engine = calloc(1, sizeof(*engine));
	int err = -EINVAL;

	if (!engine)
		return -ENOMEM;
	libbpf_set_print(keep_warning);
	for (size_t i = 0; i < 2; i++) {
		if (hook && strcmp(hook, hooks[i]))
			continue;
		engine->hook = hooks[i];
		err = load(i == 0, ring_bytes, cookie, &engine->skel);
		if (!err)
			break;
	}
	if (!err)
		err = ph_ring_init(&engine->calls, bpf_map__fd(engine->skel->maps.calls), ring_bytes);
	if (!err)
		err = ph_ring_init(&engine->events, bpf_map__fd(engine->skel->maps.events), EVENTS_BYTES);
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
	ph_ring_fini(&engine->calls);
	ph_ring_fini(&engine->events);
	if (engine->skel)
		record__destroy(engine->skel);
	free(engine);
}

long ph_engine_drain(struct ph_engine *engine, struct ph_spill *spill)
{
	long calls = ph_ring_drain(&engine->calls, ph_spill_call, spill), events;

	if (calls < 0)
		return calls;
	events = ph_ring_drain(&engine->events, ph_spill_event, spill);
	return events < 0 ? events : calls + events;
}

void ph_engine_detach(struct ph_engine *engine)
{
	record__detach(engine->skel);
}

const char *ph_engine_hook(const struct ph_engine *engine)
{
	return engine->hook;
}

int ph_engine_counts(const struct ph_engine *engine, char *text, size_t n)
{
	int cpus = libbpf_num_possible_cpus(), at = 0;

	for (int i = 0; i < cpus && i < PH_CPUS_MAX; i++) {
		const struct ph_cpu_count *count = (const void *)&engine->skel->bss->counts[i];

		at += snprintf(text + at, n - at, "%s[%u,%u,%u,%u]", i ? "," : "", count->seq, count->lost,
			       count->events_lost, count->paths_unread);
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

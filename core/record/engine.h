/* The BPF side: load, attach, join, read, detach. */
#ifndef PH_RECORD_ENGINE_H
#define PH_RECORD_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "spill.h"

struct ph_engine;
struct ph_python;

struct ph_engine_options {
	const char *hook;	/* tp_btf, raw_tp, or NULL: the first of them that works */
	size_t ring_bytes;	/* of each CPU, a power of two; 0: by the number of CPUs */
	uint64_t cookie;	/* see launch.c; 0: there is no command */
	int full;		/* enter times */
	int stacks;
	unsigned int sample_hz;	/* ticks of the cpu-clock a second; 0: none */
};

/* Load and attach. On failure `why` holds one line. */
int ph_engine_new(const struct ph_engine_options *options, char why[256], struct ph_engine **out);
void ph_engine_free(struct ph_engine *engine);

/* Observe these running processes (numbers of our own pid namespace) from now on; how many were found, or -errno. */
int ph_engine_join(struct ph_engine *engine, const uint32_t *pids, size_t n);
/* For ph_unwinder_watch_python(). */
void ph_engine_python(void *engine, uint32_t pid, const struct ph_python *python);
/* Observed processes that have not ended. */
int ph_engine_alive(const struct ph_engine *engine);

/* Everything that is finished goes to the spill; a count, or -errno. */
long ph_engine_drain(struct ph_engine *engine, struct ph_spill *spill);
void ph_engine_detach(struct ph_engine *engine);
const char *ph_engine_hook(const struct ph_engine *engine);
/* How many arguments each call takes, a digit a number, PH_NR_MAX of them and a NUL. */
void ph_engine_arity(const struct ph_engine *engine, char *text);
/* The per-CPU counters as JSON: [[seq, lost, events_lost, paths_unread, samples_lost], …] */
int ph_engine_counts(const struct ph_engine *engine, char *text, size_t n);
uint64_t ph_engine_missed(const struct ph_engine *engine);

#endif

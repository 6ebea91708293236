/* The BPF side: load, attach, read, detach. */
#ifndef PH_RECORD_ENGINE_H
#define PH_RECORD_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "spill.h"

struct ph_engine;

/* Load and attach: `hook`, or with NULL tp_btf and raw_tp where that is refused. On failure `why` holds one line. */
int ph_engine_new(const char *hook, size_t ring_bytes, uint64_t cookie, char why[256], struct ph_engine **out);
void ph_engine_free(struct ph_engine *engine);

/* Everything that is finished goes to the spill; a count, or -errno. */
long ph_engine_drain(struct ph_engine *engine, struct ph_spill *spill);
void ph_engine_detach(struct ph_engine *engine);
const char *ph_engine_hook(const struct ph_engine *engine);
/* The per-CPU counters as JSON: [[seq, lost, events_lost, paths_unread], …] */
int ph_engine_counts(const struct ph_engine *engine, char *text, size_t n);
uint64_t ph_engine_missed(const struct ph_engine *engine);

#endif

/* The spill: records as they came, in private files, buffered. */
#ifndef PH_RECORD_SPILL_H
#define PH_RECORD_SPILL_H

#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

struct ph_unwinder;

struct ph_spill {
	int folder;
	int err;		/* the first failure, -errno; nothing is written after it */
	struct ph_spill_file calls, events, samples;
	struct ph_unwinder *unwinder;	/* with stacks */
};

int ph_spill_init(struct ph_spill *spill, const char *folder, int stacks);
void ph_spill_fini(struct ph_spill *spill);
/* Whole records of one CPU, one behind the other. */
int ph_spill_calls(void *spill, const void *records, size_t bytes, int cpu);
int ph_spill_event(void *spill, const void *record, uint32_t len);
int ph_spill_sample(void *spill, const void *record, uint32_t len);
int ph_spill_flush(struct ph_spill *spill);
int ph_spill_text(struct ph_spill *spill, const char *name, const char *text);

#endif

/* Reading the rings of calls, one a CPU (struct ph_ring_head in abi_record.h). */
#ifndef PH_RECORD_CALLRING_H
#define PH_RECORD_CALLRING_H

#include <stddef.h>
#include <stdint.h>

struct ph_ring_head;

struct ph_callrings {
	unsigned char *memory;
	size_t ring_bytes;	/* of one CPU: a power of two */
	int n_cpus, map_fd;
	struct { uint64_t end; size_t mapped; } *cpus;	/* as far as ph_callrings_look() saw; bytes from the element's start */
};

/* What one element of the map takes, for rings of this size. */
size_t ph_callrings_element(size_t ring_bytes);
int ph_callrings_init(struct ph_callrings *rings, int map_fd, size_t ring_bytes, int n_cpus);
void ph_callrings_fini(struct ph_callrings *rings);
const struct ph_ring_head *ph_callrings_head(const struct ph_callrings *rings, int cpu);

/* See what there is now: the next drain takes that and no more. */
void ph_callrings_look(struct ph_callrings *rings);
/* Hand what there is to `take`, in pieces that lie in one and are of one CPU; how many records, or what `take` returned
 * below 0. */
long ph_callrings_drain(struct ph_callrings *rings, int (*take)(void *context, const void *records, size_t bytes, int cpu),
			void *context);

#endif

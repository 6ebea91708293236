/* Reading the ring that programs write their calls to (peephole/abi_ring.h). */
#ifndef PH_RECORD_LANES_H
#define PH_RECORD_LANES_H

#include <stdint.h>
#include <stdio.h>

#include "buffer.h"
#include "peephole/abi_ring.h"

/* In lanes.raw, before so many bytes of whole records; PH_LANES_HOLE with none: a record that nobody finished. */
struct ph_lanes_block {
	uint32_t lane;
	uint32_t bytes;
};

#define PH_LANES_HOLE (1u << 31)

struct ph_lane_reader {
	uint64_t tail;
	uint16_t restarts;	/* as far as seen */
	int64_t stuck_ns;	/* since when the next record is not there; 0: it is, or there is none */
};

struct ph_lanes {
	struct ph_shared_ring *ring;
	size_t bytes;
	struct ph_lane *lanes;
	uint64_t *words;
	struct ph_lane_reader *readers;
	uint8_t *seen;		/* a bit a pid */
	struct ph_spill_file *to;
};

int ph_lanes_init(struct ph_lanes *lanes, const char *file, struct ph_spill_file *to);
void ph_lanes_fini(struct ph_lanes *lanes);
/* What all lanes have; `final`: nobody writes any more. How many bytes there were, or -errno. */
long ph_lanes_drain(struct ph_lanes *lanes, int final);
/* Processes that wrote something and still run. */
int ph_lanes_living(const struct ph_lanes *lanes);

struct ph_ticks {
	uint64_t ticks;
	int64_t ns;
};

/* Makes calls.raw, paths.raw (abi_record.h) and starts.raw of the lanes.raw in `folder`: rows, with ticks as CLOCK_MONOTONIC
 * by the n points, two at least. `records` gets for each lane how many records and holes it had. 0 or -errno. */
int ph_lanes_unpack(int folder, const struct ph_ticks *points, size_t n, uint32_t n_lanes, uint64_t *records);

/* In starts.raw, before the three strings, without NULs but those of argv. */
struct ph_lanes_start {
	int64_t ns;
	int32_t pid, ppid;
	uint16_t name_len, exe_len;
	uint32_t argv_len;
};

#endif

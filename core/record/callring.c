#include "callring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "peephole/abi_record.h"

/* Room is given back every so often, so that a long drain does not hold the ring full. */
#define RELEASE_BYTES (1u << 18)

size_t ph_callrings_element(size_t ring_bytes)
{
	return PH_RING_HEAD_BYTES + ring_bytes + PH_RING_SLACK_BYTES;
}

int ph_callrings_init(struct ph_callrings *rings, int map_fd, size_t ring_bytes, int n_cpus)
{
	size_t size = ph_callrings_element(ring_bytes) * n_cpus;
	uint64_t *ends = calloc(n_cpus, sizeof(*ends));
	void *memory;

	if (!ends)
		return -ENOMEM;
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
	if (memory == MAP_FAILED) {
		free(ends);
		return -errno;
	}
	*rings = (struct ph_callrings){ .memory = memory, .ring_bytes = ring_bytes, .n_cpus = n_cpus, .ends = ends };
	return 0;
}

void ph_callrings_fini(struct ph_callrings *rings)
{
	if (rings->memory)
		munmap(rings->memory, ph_callrings_element(rings->ring_bytes) * rings->n_cpus);
	free(rings->ends);
	memset(rings, 0, sizeof(*rings));
}

const struct ph_ring_head *ph_callrings_head(const struct ph_callrings *rings, int cpu)
{
	return (const void *)(rings->memory + cpu * ph_callrings_element(rings->ring_bytes));
}

void ph_callrings_look(struct ph_callrings *rings)
{
	for (int cpu = 0; cpu < rings->n_cpus; cpu++)
		rings->ends[cpu] = __atomic_load_n(&ph_callrings_head(rings, cpu)->produced, __ATOMIC_ACQUIRE);
}

static long drain_one(struct ph_callrings *rings, int cpu, int (*take)(void *, const void *, int), void *context)
{
	struct ph_ring_head *head = (void *)ph_callrings_head(rings, cpu);
	const unsigned char *data = (const unsigned char *)head + PH_RING_HEAD_BYTES;
	uint64_t at = head->consumed, released = at, end = rings->ends[cpu];
	long taken = 0;
	int err = 0;

	while (at < end) {
		const struct ph_call *call = (const void *)(data + (at & (rings->ring_bytes - 1)));

		err = take(context, call, cpu);
		if (err < 0)
			break;
		taken++;
		at += call->len;
		if (at - released >= RELEASE_BYTES) {
			__atomic_store_n(&head->consumed, at, __ATOMIC_RELEASE);
			released = at;
		}
	}
	__atomic_store_n(&head->consumed, at, __ATOMIC_RELEASE);
	return err < 0 ? err : taken;
}

long ph_callrings_drain(struct ph_callrings *rings, int (*take)(void *context, const void *record, int cpu), void *context)
{
	long taken = 0;

	for (int cpu = 0; cpu < rings->n_cpus; cpu++) {
		long n = drain_one(rings, cpu, take, context);

		if (n < 0)
			return n;
		taken += n;
	}
	return taken;
}

#include "callring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "peephole/abi_record.h"

/* Room is given back so often, so that a long drain does not hold the ring full. */
#define RELEASE_BYTES (1u << 18)
#define PIECE_BYTES (1u << 20)

size_t ph_callrings_element(size_t ring_bytes)
{
	return PH_RING_HEAD_BYTES + ring_bytes + PH_RING_SLACK_BYTES;
}

/* The kernel enters every page of a mapping at once, and most recordings never come near the end of their rings: so each
 * ring is mapped as far as it was written, a piece at a time, where its place is kept. */
static int map_to(struct ph_callrings *rings, int cpu, size_t bytes)
{
	size_t element = ph_callrings_element(rings->ring_bytes), from = rings->cpus[cpu].mapped, at = cpu * element + from;
	size_t to = (bytes + PIECE_BYTES - 1) & ~(size_t)(PIECE_BYTES - 1);

	if (bytes <= from)
		return 0;
	to = to < element ? to : element;
	if (mmap(rings->memory + at, to - from, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, rings->map_fd, at) == MAP_FAILED)
		return -errno;
	rings->cpus[cpu].mapped = to;
	return 0;
}

int ph_callrings_init(struct ph_callrings *rings, int map_fd, size_t ring_bytes, int n_cpus)
{
	int err = 0;

	*rings = (struct ph_callrings){ .ring_bytes = ring_bytes, .n_cpus = n_cpus, .map_fd = map_fd };
	rings->cpus = calloc(n_cpus, sizeof(*rings->cpus));
	if (!rings->cpus)
		return -ENOMEM;
	rings->memory = mmap(NULL, ph_callrings_element(ring_bytes) * n_cpus, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (rings->memory == MAP_FAILED) {
		rings->memory = NULL;
		err = -errno;
	}
	for (int cpu = 0; cpu < n_cpus && !err; cpu++)
		err = map_to(rings, cpu, PH_RING_HEAD_BYTES);
	if (err)
		ph_callrings_fini(rings);
	return err;
}

void ph_callrings_fini(struct ph_callrings *rings)
{
	if (rings->memory)
		munmap(rings->memory, ph_callrings_element(rings->ring_bytes) * rings->n_cpus);
	free(rings->cpus);
	memset(rings, 0, sizeof(*rings));
}

const struct ph_ring_head *ph_callrings_head(const struct ph_callrings *rings, int cpu)
{
	return (const void *)(rings->memory + cpu * ph_callrings_element(rings->ring_bytes));
}

void ph_callrings_look(struct ph_callrings *rings)
{
	for (int cpu = 0; cpu < rings->n_cpus; cpu++) {
		struct ph_ring_head *head = (void *)ph_callrings_head(rings, cpu);

		rings->cpus[cpu].end = __atomic_load_n(&head->produced, __ATOMIC_ACQUIRE);
		/* Nothing lies before it: what did had been read. */
		if (head->restart > head->consumed && head->restart <= rings->cpus[cpu].end)
			__atomic_store_n(&head->consumed, head->restart, __ATOMIC_RELEASE);
	}
}

/* Records from `at` on that lie in one piece, and so many bytes at most that room is given back soon enough. */
static size_t piece(const struct ph_callrings *rings, const unsigned char *data, uint64_t at, uint64_t end, long *n)
{
	uint64_t start = at, first = at & (rings->ring_bytes - 1);

	while (at < end && at - start < RELEASE_BYTES && first + (at - start) < rings->ring_bytes) {
		at += ((const struct ph_call *)(data + first + (at - start)))->len;
		(*n)++;
	}
	return at - start;
}

static long drain_one(struct ph_callrings *rings, int cpu, int (*take)(void *, const void *, size_t, int), void *context)
{
	struct ph_ring_head *head = (void *)ph_callrings_head(rings, cpu);
	const unsigned char *data = (const unsigned char *)head + PH_RING_HEAD_BYTES;
	uint64_t at = head->consumed, end = rings->cpus[cpu].end, mask = rings->ring_bytes - 1;
	size_t written = (at & ~mask) == (end & ~mask) ? end & mask : rings->ring_bytes;
	long taken = 0;
	int err = at < end ? map_to(rings, cpu, PH_RING_HEAD_BYTES + written + PH_RING_SLACK_BYTES) : 0;

	while (!err && at < end) {
		size_t bytes = piece(rings, data, at, end, &taken);

		err = take(context, data + (at & mask), bytes, cpu);
		at += bytes;
		__atomic_store_n(&head->consumed, at, __ATOMIC_RELEASE);
	}
	return err < 0 ? err : taken;
}

long ph_callrings_drain(struct ph_callrings *rings, int (*take)(void *context, const void *records, size_t bytes, int cpu),
			void *context)
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

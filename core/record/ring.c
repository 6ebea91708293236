#include "ring.h"

#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Positions are given back every so often, so that a long drain does not hold the ring full. */
#define RELEASE_BYTES (1u << 18)

int ph_ring_init(struct ph_ring *ring, int map_fd, size_t size_bytes)
{
	size_t page = sysconf(_SC_PAGESIZE);
	void *consumer, *producer;

	consumer = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
	if (consumer == MAP_FAILED)
		return -errno;
	/* The kernel maps the data twice in a row: a record at the end needs no special case. */
	producer = mmap(NULL, page + 2 * size_bytes, PROT_READ, MAP_SHARED, map_fd, page);
	if (producer == MAP_FAILED) {
		int err = -errno;

		munmap(consumer, page);
		return err;
	}
	*ring = (struct ph_ring){ .consumer = consumer, .producer = producer, .data = (unsigned char *)producer + page,
				  .size_bytes = size_bytes, .page_bytes = page };
	return 0;
}

void ph_ring_fini(struct ph_ring *ring)
{
	if (!ring->consumer)
		return;
	munmap(ring->consumer, ring->page_bytes);
	munmap((void *)ring->producer, ring->page_bytes + 2 * ring->size_bytes);
	memset(ring, 0, sizeof(*ring));
}

long ph_ring_drain(struct ph_ring *ring, int (*take)(void *context, const void *record, uint32_t len), void *context)
{
	unsigned long at = __atomic_load_n(ring->consumer, __ATOMIC_RELAXED), released = at;
	unsigned long end = __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);
	long taken = 0;
	int err = 0;

	while (at < end) {
		const uint32_t *header = (const void *)(ring->data + (at & (ring->size_bytes - 1)));
		uint32_t word = __atomic_load_n(header, __ATOMIC_ACQUIRE);
		uint32_t len = word & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);

		if (word & BPF_RINGBUF_BUSY_BIT)
			break;
		if (!(word & BPF_RINGBUF_DISCARD_BIT)) {
			err = take(context, (const unsigned char *)header + BPF_RINGBUF_HDR_SZ, len);
			if (err < 0)
				break;
			taken++;
		}
		at += (len + BPF_RINGBUF_HDR_SZ + 7) & ~7ul;
		if (at - released >= RELEASE_BYTES) {
			__atomic_store_n(ring->consumer, at, __ATOMIC_RELEASE);
			released = at;
		}
	}
	__atomic_store_n(ring->consumer, at, __ATOMIC_RELEASE);
	return err < 0 ? err : taken;
}

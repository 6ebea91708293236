/* Reading a BPF ring buffer whose producers never wake anybody (include/uapi/linux/bpf.h, kernel/bpf/ringbuf.c). */
#ifndef PH_RECORD_RING_H
#define PH_RECORD_RING_H

#include <stddef.h>
#include <stdint.h>

struct ph_ring {
	unsigned long *consumer;
	const unsigned long *producer;
	const unsigned char *data;
	size_t size_bytes;
	size_t page_bytes;
};

int ph_ring_init(struct ph_ring *ring, int map_fd, size_t size_bytes);
void ph_ring_fini(struct ph_ring *ring);

/* Hand each finished record to `take`; stops at the first that is still being written or when `take` fails.
 * Returns how many were taken, or what `take` returned below 0. */
long ph_ring_drain(struct ph_ring *ring, int (*take)(void *context, const void *record, uint32_t len), void *context);

#endif

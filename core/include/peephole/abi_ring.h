/* The ring of the recorder without root: the file `ring` in the runtime folder, mapped by every process that the
 * interposer is in; src/peephole/observe/ring.py drains it.
 *
 *	struct ph_shared_ring, in a page of its own
 *	struct ph_lane, one a CPU, in pages of their own
 *	the slots of lane 0, of lane 1, …
 *
 * A writer takes places by moving `head` on, fills them, and says that they are filled by `ready`. Where there is no room
 * it counts in `lost` instead. So nobody waits for anybody, and what is missing is known exactly. */
#ifndef PEEPHOLE_ABI_RING_H
#define PEEPHOLE_ABI_RING_H

#include <stdint.h>

#define PH_SHARED_RING_MAGIC 0x474e495250454550ull	/* "PEEPRING" */
#define PH_SHARED_RING_VERSION 1u
#define PH_RING_CONTINUED (1ull << 63)	/* in `ready`: bytes that belong to the slot before */

struct ph_shared_ring {
	uint64_t magic;
	uint32_t version;
	uint32_t lanes;
	uint64_t slots;		/* of each lane, a power of two */
	uint32_t on;		/* 0: nothing is written any more */
	uint32_t reserved;
};

struct ph_lane {
	uint64_t head;		/* slots ever taken */
	uint64_t lost;
	uint64_t unread;	/* paths that could not be read */
	uint64_t pad[5];
	uint64_t tail;		/* slots ever read, in a cache line of its own */
	uint64_t pad2[7];
};

enum ph_slot_kind { PH_SLOT_CALL = 1, PH_SLOT_START = 2 };

/* A call; or the start of an image, which is the end of the exec that led to it: then `path` is what exec was given,
 * `path2` the executable, args the parent and the bytes of argv, which come last. */
struct ph_slot {
	uint64_t ready;		/* its place + 1 */
	uint64_t claim;		/* its place (32 bits), how many slots (10), whose: pid (22) */
	uint64_t lost;		/* of the lane, when the place was taken */
	uint64_t enter, exit;	/* time stamp counter */
	int64_t ret;
	uint64_t ip;
	int32_t nr, tid, pid;
	uint16_t path_len, path2_len;
	uint8_t kind, flags;	/* enum ph_slot_kind, enum ph_call_flags of abi_record.h */
	uint8_t pad[6];
	int64_t args[6];
};

struct ph_slot_bytes {
	uint64_t ready;
	uint8_t bytes[120];
};

_Static_assert(sizeof(struct ph_lane) == 128, "ph_lane");
_Static_assert(sizeof(struct ph_slot) == 128, "ph_slot");
_Static_assert(sizeof(struct ph_slot_bytes) == 128, "ph_slot_bytes");

#endif

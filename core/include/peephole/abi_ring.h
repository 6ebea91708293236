/* The ring of the recorder without root: the file `ring` in the runtime folder, mapped by every process that the
 * interposer is in; core/record/lanes.c drains it.
 *
 *	struct ph_shared_ring, in a page of its own
 *	struct ph_lane, one a CPU, in pages of their own
 *	the words of lane 0 and their slack, of lane 1, …
 *
 * A writer takes words by moving `head` on, fills them, and says in the first one that they are filled. Where there is no
 * room it counts in `lost` instead. So nobody waits for anybody, and what is missing is known exactly. A record that reaches
 * a lane's end goes on in the slack behind it. A writer that is far from the beginning and finds everything read starts at
 * the beginning again: with a reader who keeps up, memory that is mapped and in the cache is used again and again. */
#ifndef PEEPHOLE_ABI_RING_H
#define PEEPHOLE_ABI_RING_H

#include <stdint.h>

#define PH_SHARED_RING_MAGIC 0x474e495250454550ull	/* "PEEPRING" */
#define PH_SHARED_RING_VERSION 2u
#define PH_LANE_SLACK_WORDS 8192u
#define PH_LANE_FAR_WORDS (1u << 16)

struct ph_shared_ring {
	uint64_t magic;
	uint32_t version;
	uint32_t lanes;
	uint64_t words;		/* of each lane, a power of two */
	uint32_t on;		/* 0: nothing is written any more */
	uint32_t reserved;
};

/* A place is a number of words, ever. `head` has in its upper bits how often a lane was started again. */
struct ph_lane {
	uint64_t head;		/* words ever taken */
	uint64_t lost;		/* records */
	uint64_t unread;	/* paths that could not be read */
	uint64_t pad[5];
	uint64_t tail;		/* words ever read, in a cache line of its own */
	uint64_t pad2[7];
};

#define PH_LANE_PLACE_BITS 48
#define PH_LANE_PLACE(head) ((head) & ((1ull << PH_LANE_PLACE_BITS) - 1))

/* The first word of a record. */
#define PH_LANE_WORDS(word) ((word) & 0x3fff)		/* how many it has, with this one */
#define PH_LANE_ARGS(word) ((word) >> 14 & 7)
#define PH_LANE_ARGS_AT 14
#define PH_LANE_START (1ull << 17)	/* an image began, which is the end of the exec that led to it */
#define PH_LANE_NO_RETURN (1ull << 18)
#define PH_LANE_NO_ARGS (1ull << 19)
#define PH_LANE_BYTES (1ull << 20)	/* a word of three lengths and so many bytes come last */
#define PH_LANE_LONG (1ull << 21)	/* a word with the time of entry comes before the arguments */
#define PH_LANE_TAG_AT 22		/* its place, 41 bits */
#define PH_LANE_TAG(place) (((place) & ((1ull << 41) - 1)) << PH_LANE_TAG_AT)
#define PH_LANE_READY (1ull << 63)

/* The words that all records have. Of the start of an image, the arguments are the bytes of argv and the parent, and the
 * bytes what exec was given, the executable and argv. */
struct ph_lane_record {
	uint64_t word;
	uint64_t who;		/* pid (22 bits), tid (22 bits), number of the call (20 bits, signed) */
	uint64_t exit;		/* time stamp counter */
	uint32_t took;		/* ticks since the entry; 0: it was not looked at, or PH_LANE_LONG */
	uint32_t lost;		/* of the lane, when the place was taken */
	int64_t ret;
	uint64_t ip;
};

struct ph_lane_lengths {
	uint16_t path, path2;	/* with their NULs */
	uint32_t argv;
};

#define PH_LANE_FIXED_WORDS 6u
#define PH_LANE_PID_BITS 22

_Static_assert(sizeof(struct ph_lane) == 128, "ph_lane");
_Static_assert(sizeof(struct ph_lane_record) == 8 * PH_LANE_FIXED_WORDS, "ph_lane_record");
_Static_assert(sizeof(struct ph_lane_lengths) == 8, "ph_lane_lengths");

#endif

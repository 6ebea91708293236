/* Where an object's system-call instructions lie and how each can be patched: written by peephole-sites, cached by
 * build-id, read by the runtime. A list is one header and its sites; lists may follow each other in one file. */
#ifndef PEEPHOLE_ABI_SITES_H
#define PEEPHOLE_ABI_SITES_H

#include <stdint.h>

#define PH_SITES_MAGIC 0x3153455449534850ull	/* "PHSITES1" */
#define PH_SITES_VERSION 4u
#define PH_SITE_BYTES 24			/* of original code that are kept, to be compared before patching */
#define PH_PAD_BYTES 5
#define PH_PADS 4
#define PH_SITE_UNKNOWN (-1)			/* the number is not known before the call */

enum ph_tier {
	PH_TIER_NONE,		/* reached as an instruction, can't be patched */
	PH_TIER_MOV,		/* T1: mov eax, imm32; syscall */
	PH_TIER_RUN,		/* T1r: a run of plain instructions before it, moved into the stub; launch only */
	PH_TIER_AFTER,		/* T1f: the same with instructions after it; launch only */
	PH_TIER_PUN,		/* T2: two bytes, with the following three as the jump's distance */
	PH_TIER_PAD,		/* T3: two bytes, short jumps to five bytes of padding; never listed, see `pads` */
	PH_TIER_COUNT
};

struct ph_site {
	uint32_t start;		/* first patched byte, as a virtual address of the file */
	int32_t nr;
	uint8_t tier;
	uint8_t length;		/* of the patched bytes, syscall included */
	uint8_t before;		/* bytes of instructions before the syscall in it */
	uint8_t after;
	uint8_t bytes[PH_SITE_BYTES];	/* what must be there: `length` bytes, or the syscall and three more for T2 */
	/* Short jumps through padding that is this site's own: from the syscall's end, then from the end of the jump before.
	 * The last one leads to PH_PAD_BYTES, the others to two bytes. 0 ends them. */
	int8_t pads[PH_PADS];
};

struct ph_sites {
	uint64_t magic;
	uint32_t version;
	uint32_t n;
	uint8_t build_id[32];
	uint32_t build_id_bytes;
	uint32_t rejected;	/* 0f 05 that is data, or lies inside another instruction */
	uint64_t text_start;	/* the executable segment */
	uint64_t text_bytes;
	uint32_t sigreturns;	/* returns from signal handlers: never touched */
	uint32_t reserved;
	struct ph_site sites[];
};

_Static_assert(sizeof(struct ph_site) == 40, "ph_site");
_Static_assert(sizeof(struct ph_sites) == 80, "ph_sites");

#endif

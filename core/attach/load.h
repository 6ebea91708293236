/* The runtime in a target's memory: found there, or brought there without the target's help. */
#ifndef PH_ATTACH_LOAD_H
#define PH_ATTACH_LOAD_H

#include "peephole/abi_live.h"
#include "target.h"

struct loaded {
	uint64_t base;
	uint64_t anchor_at;
	struct ph_anchor anchor;
};

/* An image of the runtime in the target: 1, 0 when there is none (or none that this program can talk to), -1 after saying
 * why. */
int load_find(const struct target *t, struct loaded *out);

/* Maps `library` near the code that is to be patched, with room for struct ph_live, a stack and `lists_bytes`. Borrows
 * a thread for a moment; adds to *lent_us. */
int load_map(struct target *t, const char *library, uint64_t near, size_t lists_bytes, uint64_t *lent_us,
	     struct loaded *out);

/* The same room for an image that ld.so or an earlier attach loaded. */
int load_room(struct target *t, struct loaded *l, size_t lists_bytes, uint64_t *lent_us);

int load_reread(const struct target *t, struct loaded *l);

/* Where in the room things lie. */
uint64_t load_stack(const struct loaded *l);
uint64_t load_lists(const struct loaded *l);

#endif

/* Rules that run although nobody trusts them: what they do is compared with the kernel's own. */
#ifndef PH_RUNTIME_ISOLATED_H
#define PH_RUNTIME_ISOLATED_H

#include "layers.h"

struct ph_check {
	bool due;
	int64_t offset;		/* of the descriptor before a write or a seek, nothing pending; or -errno */
};

/* Before the handler of `layer`: whether this call is looked at. Before a write or a seek the layer has settled then. In a trial the
 * call is begun again, firmly. */
void ph_check_begin(struct ph_walk *walk, unsigned layer, const struct ph_call *call, struct ph_check *check);

/* After a handler that answered r by itself: r, or the kernel's own answer when the rule's was wrong. The rule has left
 * then. */
int64_t ph_check_end(struct ph_walk *walk, unsigned layer, const struct ph_call *call, const struct ph_check *check,
		     int64_t r);

#endif

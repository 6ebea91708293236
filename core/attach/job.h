/* One attach or detach from beginning to end. The order: no thread stands still while the plan is made; one thread is lent
 * for the mapping and for the runtime's own beginning; all stand still while bytes are written. */
#ifndef PH_ATTACH_JOB_H
#define PH_ATTACH_JOB_H

#include "load.h"
#include "peephole/abi_sites.h"
#include "target.h"

struct job {
	struct target target;
	struct loaded loaded;
	struct ph_live *live;
	struct span *spans;
	size_t n_spans;
	uint64_t lent_us, still_us;
	int tries;
};

/* job->target is open; of job->live everything is filled in but the lists, which are given here. 0, -1 after saying why
 * not (then the process is as it was), or 130 or 143 when a signal asked to stop. */
int job_put_in(struct job *job, const char *library, const uint8_t *lists, size_t bytes);
int job_take_out(struct job *job);

#endif

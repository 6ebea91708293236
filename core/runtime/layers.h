/* Rules stand in layers: what one sends to the kernel goes to the next, at last to the kernel. */
#ifndef PH_RUNTIME_LAYERS_H
#define PH_RUNTIME_LAYERS_H

#include "descriptions.h"
#include "dispatch.h"
#include "hold.h"
#include "rule.h"

/* One call on its way through the layers. */
struct ph_walk {
	struct ph_description *d;	/* what the call's descriptor names, or NULL */
	struct ph_firm firm;
	bool held;		/* firmly */
	bool trial;		/* on a copy of the states, without kernel calls */
	bool aborted;		/* the trial met something that it can't do */
	bool hit;		/* some rule paid */
	uint32_t hits;		/* by layer */
	uint64_t stamp;		/* of fork windows, when the walk began */
	uint64_t *process;	/* in a trial of the process's states: their copy */
	int64_t known_fd;	/* 1 + a descriptor that was looked up on the way, or 0 */
	struct ph_identity known;
};

/* The view of one layer. */
struct ph_k {
	struct ph_walk *walk;
	struct ph_call *call;
	unsigned layer;
};

struct ph_layer {
	const struct ph_rule *rule;
	struct ph_rule_control *control;
	unsigned index;			/* in the control page */
	uint32_t offset;		/* of its states in a description's */
	uint64_t hits;			/* not yet in the control page; touched only while holding */
	uint8_t handle_of[512];		/* number of a call -> 1 + index into rule->handles, or 0 */
};

extern struct ph_layer ph_layers[PH_RULES_MAX];
extern unsigned ph_n_layers;
extern struct ph_control *ph_control;

int ph_layers_init(struct ph_control *control);

/* Whether any layer has a handler for this call; and one that may answer without the kernel. */
bool ph_layers_handle(int64_t nr);
uint32_t ph_layers_may_answer(int64_t nr);	/* bit i: layer i */

struct ph_state *ph_state_of(struct ph_description *d, unsigned layer, bool trial);

/* The call, from `layer` downwards. */
int64_t ph_layer_call(struct ph_walk *walk, unsigned layer, struct ph_call *call);

/* What `layer` has pending on d; 0 or -errno. Firmly held. `why` PH_WHY_COUNT: in the course of things, nothing to
 * report. */
int64_t ph_layer_settle(struct ph_walk *walk, unsigned layer, struct ph_description *d, enum ph_why why);

/* All layers, top down; the first error. */
int64_t ph_description_settle(struct ph_walk *walk, struct ph_description *d, enum ph_why why);

/* Everything; errors stay with their descriptions. */
void ph_settle_all_held(struct ph_walk *walk, enum ph_why why);

/* What fd names, looked up once a walk: its size may have changed since, the rest not. 0 or -errno. */
int64_t ph_walk_identify(struct ph_walk *walk, int64_t fd);

void ph_walk_hold(struct ph_walk *walk);
void ph_walk_release(struct ph_walk *walk);

void ph_count_why(unsigned layer, enum ph_why why);

#endif

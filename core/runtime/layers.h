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
	uint32_t touched;	/* in a trial: layers that work on their copy */
	uint32_t hits;		/* by layer, of calls without a state */
	uint32_t many_hits;	/* layers whose state has gathered many */
	uint32_t hit_by;	/* the layer that last counted a hit, plus one */
	bool held;		/* firmly */
	bool trial;		/* on copies of the states, without kernel calls */
	bool aborted;		/* the trial met something that it can't do */
	bool glance;		/* no handler on the way changes a state */
	bool received;		/* so what was received is the answer, whatever becomes of the trial */
	uint64_t *process;	/* in a trial of the process's states: their copy */
	uint32_t kernel_calls;	/* made on the way */
	bool again;		/* a settle that was interrupted: appended bytes may be there already */
	int64_t stand_in;	/* in the keeper: 1 + the descriptor that stands for the program's, or 0 */
	int64_t adopts;		/* 1 + a descriptor that stands for what the next open gives, or 0 */
	int64_t known_fd;	/* 1 + a descriptor that was looked up on the way, or 0 */
	/* From here on of no use to a trial. */
	struct ph_identity known;
	struct ph_firm firm;
	uint64_t stamp;		/* of fork windows, when the walk began */
};

/* The view of one layer. */
struct ph_k {
	struct ph_walk *walk;
	const struct ph_call *call;
	struct ph_state *f;	/* of a call on a description that the layer has state on */
	unsigned layer;
	bool timed, hit;
	bool forwarded;		/* with this result */
	int64_t result;
	int64_t opened;		/* 1 + what the handler has opened, or 0 */
	uint64_t below;		/* ticks that the original call would have taken too */
};

struct ph_layer {
	const struct ph_rule *rule;
	const struct ph_handles *handles;
	uint32_t state_words;
	uint32_t offset;		/* of its states in a description's */
	struct ph_rule_control *control;
	unsigned index;			/* in the control page */
	uint64_t hits;			/* not yet in the control page; touched only while firmly held */
	uint8_t handle_of[512];		/* number of a call -> 1 + index into rule->handles, or 0 */
};

extern struct ph_layer ph_layers[PH_RULES_MAX];
extern unsigned ph_n_layers;
extern struct ph_control *ph_control;
extern const uint32_t *ph_layer_switches[PH_RULES_MAX];	/* `enabled` of each in the control page, which others write */
extern uint32_t ph_layers_on;	/* bit i: layer i has not left this process */
extern bool ph_armed;		/* whole.c */

int ph_layers_init(struct ph_control *control);
int ph_layers_choose(struct ph_control *control, uint32_t chosen);	/* bit i: rule i of the control page */

/* Which rules of the control page answer what files were: bit i for rules[i]. */
uint32_t ph_layers_examining(const struct ph_control *control);

/* Whether any layer has a handler for this call; and (bit i: layer i) those that may answer without the kernel, and
 * those whose handler needs no description. */
bool ph_layers_handle(int64_t nr);
uint32_t ph_layers_handling(int64_t nr);
uint32_t ph_layers_may_answer(int64_t nr);
uint32_t ph_layers_stateless(int64_t nr);
uint32_t ph_layers_glance(int64_t nr);		/* those whose handler changes no state */

/* The state in force; in a trial that works on a copy, the copy. */
static inline struct ph_state *ph_state_of(const struct ph_walk *walk, struct ph_description *d, unsigned layer)
{
	uint64_t current = atomic_load_explicit(&d->word, memory_order_relaxed) ^ walk->touched;

	return (struct ph_state *)(d->states[current >> layer & 1] + ph_layers[layer].offset);
}

/* The state that a handler may change: in a trial a copy, which the commit puts in force. */
static inline struct ph_state *ph_state_for(struct ph_walk *walk, struct ph_description *d, unsigned layer)
{
	struct ph_state *f = ph_state_of(walk, d, layer);
	const uint64_t *from = (const uint64_t *)f;
	uint64_t *to;

	if (!walk->trial || walk->touched & (1u << layer))
		return f;
	walk->touched |= 1u << layer;
	f = ph_state_of(walk, d, layer);
	to = (uint64_t *)f;
#pragma GCC unroll 1
	for (unsigned i = 0; i < ph_layers[layer].state_words; i++)
		to[i] = from[i];
	return f;
}

/* Hits go from a description's states to the layers when nothing is pending any more, or a state has gathered many;
 * from there to the control page now and then: an atomic step costs as much as the rest of an answered call. */
#define PH_MANY_HITS 1024
void ph_hits_gather(struct ph_description *d);
void ph_hits_publish(void);

/* The call, from `layer` downwards. */
int64_t ph_layer_call(struct ph_walk *walk, unsigned layer, const struct ph_call *call);

/* A call of a rule's own, from the layer below it; a0 is its descriptor. */
int64_t ph_layer_below(struct ph_k *k, int64_t nr, int64_t a0, int64_t a1, int64_t a2, int64_t a3);

/* What `layer` has pending on d; 0 or -errno. Firmly held. `why` PH_WHY_COUNT: in the course of things, nothing to
 * report. */
int64_t ph_layer_settle(struct ph_walk *walk, unsigned layer, struct ph_description *d, enum ph_why why);

/* A call that no rule sees names d: what rules remember of it may be wrong. Firmly held, or in a trial. */
void ph_layer_forget(struct ph_walk *walk, unsigned layer, struct ph_description *d);
void ph_description_forget(struct ph_walk *walk, struct ph_description *d);

/* Of these layers everything is settled, on one or on all descriptions, and their states are gone. */
void ph_description_lose(struct ph_walk *walk, struct ph_description *d, uint32_t layers, enum ph_why why);
void ph_layers_drop(struct ph_walk *walk, uint32_t layers, enum ph_why why);

/* All layers, top down; the first error. */
int64_t ph_description_settle(struct ph_walk *walk, struct ph_description *d, enum ph_why why);

/* Everything but places; errors stay with their descriptions. The same where no other layers than these have state. */
void ph_settle_all_held(struct ph_walk *walk, enum ph_why why);
void ph_settle_of_held(struct ph_walk *walk, uint32_t layers, enum ph_why why);

/* Where descriptions stand: before a call that may be about any file. */
void ph_settle_places_held(struct ph_walk *walk, enum ph_why why);

/* What others could see: all but what is pending in interest lists. */
void ph_settle_seen_held(struct ph_walk *walk, enum ph_why why);

extern uint32_t ph_interest_layers;
extern uint32_t ph_file_layers;		/* whose states are of files */
extern uint32_t ph_memory_layers;	/* whose rules forget when a call that they do not see names a description, or settle only then */
extern uint32_t ph_bit_layers;		/* whose rules keep back bits of descriptors */
extern uint32_t ph_place_layers;	/* whose rules have pending where descriptions stand; it marks none as pending */

/* What fd names, looked up once a walk: its size may have changed since, the rest not. 0 or -errno. */
int64_t ph_walk_identify(struct ph_walk *walk, int64_t fd);

void ph_walk_hold(struct ph_walk *walk);
void ph_walk_release(struct ph_walk *walk);

void ph_count_why(unsigned layer, enum ph_why why);

#endif

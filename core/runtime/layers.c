#include "layers.h"

#include "examined.h"
#include "guard.h"
#include "keeper.h"
#include "absent.h"
#include "attributes.h"
#include "numbers.h"
#include "owed.h"
#include "pipes.h"
#include "run.h"
#include "scans.h"

struct ph_layer ph_layers[PH_RULES_MAX];
unsigned ph_n_layers;
PH_HOT_DATA const uint32_t *ph_layer_switches[PH_RULES_MAX];
uint32_t ph_layers_on;
uint32_t ph_interest_layers, ph_memory_layers, ph_file_layers, ph_place_layers, ph_bit_layers;
PH_HOT_DATA struct ph_control *ph_control;

static uint32_t handled[PH_NR_MAX];
static uint32_t may_answer[PH_NR_MAX];
static uint32_t glance[PH_NR_MAX];
static uint32_t stateless[PH_NR_MAX];		/* layers whose handler needs no description */

extern const struct ph_rule *const ph_rules[];
extern const uint32_t ph_n_rules;

static bool same_name(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

static const struct ph_rule *rule_named(const char *name)
{
	for (uint32_t i = 0; i < ph_n_rules; i++)
		if (same_name(ph_rules[i]->name, name))
			return ph_rules[i];
	return NULL;
}

/* Layers stand in the order of the rules in the control page: the launcher has chosen it. */
int ph_layers_init(struct ph_control *control)
{
	uint32_t chosen = 0;

	for (unsigned i = 0; i < control->n_rules && i < PH_RULES_MAX; i++)
		chosen |= control->rules[i].enabled ? 1u << i : 0;
	return ph_layers_choose(control, chosen);
}

int ph_layers_choose(struct ph_control *control, uint32_t chosen)
{
	uint32_t offset = 0;

	ph_control = control;
	ph_owed_used = ph_absent_used = ph_attributes_used = false;
	ph_examined_rule = NULL;
	ph_n_layers = 0;
	ph_interest_layers = ph_memory_layers = ph_file_layers = ph_place_layers = ph_bit_layers = 0;
	for (unsigned nr = 0; nr < PH_NR_MAX; nr++) {
		handled[nr] = 0;
		may_answer[nr] = 0;
		stateless[nr] = 0;
		glance[nr] = 0;
	}
	for (unsigned i = 0; i < control->n_rules && i < PH_RULES_MAX; i++) {
		const struct ph_rule *rule = rule_named(control->rules[i].name);
		struct ph_layer *layer = &ph_layers[ph_n_layers];
		uint32_t size;

		if (!rule || rule->state_bytes > PH_STATE_MAX || rule->buffer_bytes > PH_BUFFER_MAX)
			return -1;
		if (!(chosen & (1u << i)))
			continue;
		size = (rule->state_bytes + 7) & ~7u;
		if (offset + size > PH_STATES_MAX)
			return -1;
		*layer = (struct ph_layer){ 0 };
		layer->rule = rule;
		layer->handles = rule->handles;
		ph_owed_used |= rule->owes;
		ph_absent_used |= rule->lists;
		if (rule->examines)
			ph_examined_rule = &control->rules[i];
		ph_attributes_used |= rule->looks;
		ph_pipes_used |= rule->pipes;
		layer->state_words = size / 8;
		layer->control = &control->rules[i];
		ph_layer_switches[ph_n_layers] = &control->rules[i].enabled;
		layer->index = i;
		layer->offset = offset;
		offset += size;
		for (uint32_t h = 0; h < rule->n_handles; h++) {
			int32_t nr = rule->handles[h].nr;

			if (nr < 0 || nr >= PH_NR_MAX || h >= 255)
				return -1;
			layer->handle_of[nr] = (uint8_t)(h + 1);
			handled[nr] |= 1u << ph_n_layers;
			/* What is not trusted is looked at, and that takes the kernel. */
			if (rule->handles[h].may_answer && layer->control->trust != PH_TRUST_ISOLATED)
				may_answer[nr] |= 1u << ph_n_layers;
			if (rule->handles[h].glances)
				glance[nr] |= 1u << ph_n_layers;
			if (rule->handles[h].fd_arg < 0)
				stateless[nr] |= 1u << ph_n_layers;
		}
		ph_interest_layers |= rule->interest << ph_n_layers;
		ph_file_layers |= (uint32_t)!rule->streams << ph_n_layers;
		ph_place_layers |= rule->place << ph_n_layers;
		ph_bit_layers |= (uint32_t)rule->bits << ph_n_layers;
		ph_memory_layers |= (uint32_t)(rule->forget || rule->place) << ph_n_layers;
		ph_n_layers++;
	}
	ph_layers_on = (1u << ph_n_layers) - 1;
	return 0;
}

uint32_t ph_layers_examining(const struct ph_control *control)
{
	uint32_t examining = 0;

	for (unsigned i = 0; i < control->n_rules && i < PH_RULES_MAX; i++) {
		const struct ph_rule *rule = rule_named(control->rules[i].name);

		examining |= (uint32_t)(rule && rule->examines) << i;
	}
	return examining;
}

bool ph_layers_handle(int64_t nr)
{
	return nr >= 0 && nr < PH_NR_MAX && handled[nr];
}

uint32_t ph_layers_handling(int64_t nr)
{
	return nr >= 0 && nr < PH_NR_MAX ? handled[nr] : 0;
}

uint32_t ph_layers_may_answer(int64_t nr)
{
	return nr >= 0 && nr < PH_NR_MAX ? may_answer[nr] : 0;
}

uint32_t ph_layers_stateless(int64_t nr)
{
	return nr >= 0 && nr < PH_NR_MAX ? stateless[nr] : 0;
}

uint32_t ph_layers_glance(int64_t nr)
{
	return nr >= 0 && nr < PH_NR_MAX ? glance[nr] : 0;
}

void ph_count_why(unsigned layer, enum ph_why why)
{
	__atomic_fetch_add(&ph_layers[layer].control->why[why], 1, __ATOMIC_RELAXED);
}

void ph_hits_gather(struct ph_description *d)
{
	static const struct ph_walk here;

	for (unsigned i = 0; i < ph_n_layers; i++) {
		struct ph_state *f = ph_state_of(&here, d, i);

		if (!(d->handled & (1u << i)))
			continue;
		ph_layers[i].hits += (uint64_t)f->hits;
		f->hits = 0;
	}
}

void ph_hits_publish(void)
{
	for (unsigned i = 0; i < ph_n_layers; i++) {
		if (!ph_layers[i].hits)
			continue;
		__atomic_fetch_add(&ph_layers[i].control->hits, ph_layers[i].hits, __ATOMIC_RELAXED);
		ph_layers[i].hits = 0;
	}
}

void ph_walk_hold(struct ph_walk *walk)
{
	int taken;

	if (walk->held)
		return;
	taken = ph_firm_begin(&walk->firm);
	walk->held = true;
	if (taken == PH_KEEPER_DIED)
		ph_keeper_clear(walk);
	if (taken < 0)
		return;
	/* A trial stood in the way. Its description dies: what was committed is settled here, the trial's own commit
	 * fails, and it gives the memory back. */
	struct ph_description *d = ph_description_at((unsigned)taken);

	if (d->fds == 0)
		return;
	atomic_fetch_or(&d->word, PH_WORD_DEAD);
	for (unsigned i = 0; i < ph_n_layers; i++)
		if (d->handled & (1u << i))
			ph_count_why(i, PH_WHY_CONTENDED);
	int64_t fd = d->fd, error = ph_description_settle(walk, d, PH_WHY_CONTENDED);

	ph_description_drop(d, true);
	d = error < 0 ? ph_description_new(fd) : NULL;
	if (d)
		d->error = error;	/* for the next call that names it */
}

void ph_walk_release(struct ph_walk *walk)
{
	if (!walk->held)
		return;
	walk->held = false;
	ph_firm_end(&walk->firm);
}

int64_t ph_walk_identify(struct ph_walk *walk, int64_t fd)
{
	int64_t r;

	if (walk->known_fd == fd + 1)
		return 0;
	r = ph_identify(fd, &walk->known);
	walk->known_fd = r < 0 ? 0 : fd + 1;
	return r;
}

/* An open may wait without bound (a FIFO), as may what a program does with a socket. */
static bool may_wait(const struct ph_walk *walk, int64_t nr)
{
	bool socket = walk->d && walk->d->identified && !walk->d->regular;

	return nr == PH_NR_openat || nr == PH_NR_openat2 || nr == PH_NR_accept4 || nr == PH_NR_epoll_wait ||
	       (socket && (nr == PH_NR_read || nr == PH_NR_write || nr == PH_NR_writev || nr == PH_NR_sendfile));
}

/* A description that no rule has state on any more, when nobody will look at it after the call. */
static void let_go(struct ph_walk *walk)
{
	if (!walk->held || !walk->d || walk->d->handled || walk->d->error)
		return;
	ph_description_drop(walk->d, false);
	walk->d = NULL;
}

/* The call if it need not wait: whom it would wait for may wait for what is kept here. *left: bytes of a write still to go. */
static int64_t at_once(const struct ph_call *c, int64_t *left)
{
	int64_t nr = c->nr == PH_NR_read ? PH_NR_recvfrom : PH_NR_sendto;
	int64_t r = ph_syscall(nr, c->a[0], c->a[1], c->a[2], PH_MSG_DONTWAIT, 0, 0);

	*left = r == -PH_EAGAIN || r == -PH_ENOTSOCK ? c->a[2] : r > 0 && c->nr == PH_NR_write ? c->a[2] - r : 0;
	return r;
}

/* A read or write on a socket that only rules about interest let through, while others have something kept. */
static int64_t on_socket(struct ph_walk *walk, const struct ph_call *c)
{
	int64_t left, done = at_once(c, &left), r;

	if (!left)
		return done;
	ph_walk_hold(walk);
	ph_settle_seen_held(walk, PH_WHY_BLOCKING);
	ph_walk_release(walk);
	done = done > 0 ? done : 0;
	r = ph_syscall(c->nr, c->a[0], c->a[1] + done, left, 0, 0, 0);
	return done && r < 0 ? done : done + r;
}

/* What may wait does so with signals open and nothing held. */
static int64_t kernel_call(struct ph_walk *walk, const struct ph_call *c)
{
	bool waits;

	if (walk->trial) {
		walk->aborted = true;
		return -PH_EAGAIN;
	}
	if ((c->nr == PH_NR_openat || c->nr == PH_NR_pipe2) && walk->adopts) {
		int64_t fd = walk->adopts - 1;

		walk->adopts = 0;
		return fd;
	}
	if (ph_owed_any() && !ph_owed_may_wait(c))
		ph_owed_settle(walk);
	waits = may_wait(walk, c->nr);
	if (waits) {
		let_go(walk);
		ph_walk_release(walk);
	}
	if (walk->d)
		ph_keeper_passes(walk->d, c);
	walk->kernel_calls++;
	if (waits && (c->nr == PH_NR_read || c->nr == PH_NR_write) && c->a[2] > 0 && ph_anything_pending())
		return on_socket(walk, c);
	if (ph_owed_used && (c->nr == PH_NR_fsync || c->nr == PH_NR_fdatasync))
		return ph_owed_sync(walk->d, c);
	if (c->nr == PH_NR_rt_sigaction)
		return ph_set_action(c->a);
	return ph_syscall(c->nr, c->a[0], c->a[1], c->a[2], c->a[3], c->a[4], c->a[5]);
}

int64_t ph_layer_call(struct ph_walk *walk, unsigned layer, const struct ph_call *call)
{
	struct ph_description *d = walk->d;
	bool known = (uint64_t)call->nr < PH_NR_MAX;
	uint32_t left = ((d ? d->handled : 0) | (known ? stateless[call->nr] : 0)) & ph_layers_on & (uint32_t)(~0ull << layer);

	for (; left; left &= left - 1) {
		unsigned i = (unsigned)__builtin_ctz(left), h = known ? ph_layers[i].handle_of[call->nr] : 0;
		bool mine = d && (d->handled & (1u << i));

		if (h) {
			const struct ph_handles *handles = &ph_layers[i].handles[h - 1];

			return ph_run(walk, i, handles, handles->fd_arg < 0 ? NULL : ph_state_for(walk, d, i), call);
		}
		if (mine && call->nr != PH_NR_epoll_ctl) {	/* inert */
			int64_t r = ph_layer_settle(walk, i, d, PH_WHY_UNHANDLED);

			if (r < 0)
				return r;
			ph_layer_forget(walk, i, d);
		}
	}
	return kernel_call(walk, call);
}

int64_t ph_layer_settle(struct ph_walk *walk, unsigned layer, struct ph_description *d, enum ph_why why)
{
	const struct ph_layer *l = &ph_layers[layer];
	struct ph_description *outer = walk->d;
	int64_t r;

	if (!(d->handled & (1u << layer)) || !ph_run_pending(walk, layer, d))
		return 0;
	if (walk->stand_in && l->rule->bits)	/* the keeper has the description, and not the descriptor */
		return 0;
	if (walk->trial) {
		walk->aborted = true;
		return -PH_EAGAIN;
	}
	walk->d = d;
	r = ph_run_settle(walk, layer, d);
	walk->d = outer;
	__atomic_fetch_add(&l->control->settled, 1, __ATOMIC_RELAXED);
	if (why != PH_WHY_COUNT)
		ph_count_why(layer, why);
	if (r < 0) {
		ph_count_why(layer, PH_WHY_SETTLE_FAILED);
		__atomic_fetch_add(&ph_control->settle_failures, 1, __ATOMIC_RELAXED);
		return r;
	}
	return 0;
}

int64_t ph_description_settle(struct ph_walk *walk, struct ph_description *d, enum ph_why why)
{
	int64_t first = 0;

	for (unsigned layer = 0; layer < ph_n_layers; layer++) {
		int64_t r = ph_layer_settle(walk, layer, d, why);

		if (r < 0 && !first)
			first = r;
	}
	if (!walk->trial) {
		ph_hits_gather(d);
		ph_dirty_clear(d);
		ph_keeper_unplace(d);
	}
	return first;
}

void ph_layer_forget(struct ph_walk *walk, unsigned layer, struct ph_description *d)
{
	struct ph_k k = { .walk = walk, .layer = layer };

	if ((d->handled & (1u << layer)) && ph_layers[layer].rule->forget)
		ph_guarded(&k, ph_state_for(walk, d, layer), (const void *)(int64_t)d->fd, ph_layers[layer].rule->forget);
}

void ph_description_forget(struct ph_walk *walk, struct ph_description *d)
{
	d->plain_connection = false;
	for (unsigned layer = 0; layer < ph_n_layers; layer++)
		ph_layer_forget(walk, layer, d);
}

void ph_description_lose(struct ph_walk *walk, struct ph_description *d, uint32_t layers, enum ph_why why)
{
	if (!(d->handled & layers))
		return;
	for (unsigned i = 0; i < ph_n_layers; i++) {
		int64_t r = layers & (1u << i) ? ph_layer_settle(walk, i, d, why) : 0;

		if (r < 0 && !d->error)
			d->error = r;
	}
	ph_hits_gather(d);
	d->handled &= ~layers;
	if (!d->handled && !d->error)
		ph_description_drop(d, false);
}

void ph_layers_drop(struct ph_walk *walk, uint32_t layers, enum ph_why why)
{
	for (unsigned n = 0; n < ph_descriptions_used; n++)
		if (ph_description_at(n)->fds)
			ph_description_lose(walk, ph_description_at(n), layers, why);
}

void ph_settle_seen_held(struct ph_walk *walk, enum ph_why why)
{
	for (unsigned i = 0; i < ph_descriptions_used; i++) {
		struct ph_description *d = ph_description_at(i);

		if (!ph_dirty_test(d))
			continue;
		for (unsigned layer = 0; layer < ph_n_layers; layer++) {
			bool seen = !(ph_interest_layers & (1u << layer));
			int64_t r = seen ? ph_layer_settle(walk, layer, d, why) : 0;

			if (r < 0 && !d->error)
				d->error = r;
		}
	}
}

void ph_settle_places_held(struct ph_walk *walk, enum ph_why why)
{
	for (unsigned i = 0; i < ph_descriptions_used; i++) {
		struct ph_description *d = ph_description_at(i);

		if (!d->fds)
			continue;
		for (uint32_t left = d->handled & ph_place_layers; left; left &= left - 1) {
			int64_t r = ph_layer_settle(walk, (unsigned)__builtin_ctz(left), d, why);

			if (r < 0 && !d->error)
				d->error = r;
		}
	}
}

void ph_settle_of_held(struct ph_walk *walk, uint32_t layers, enum ph_why why)
{
	for (unsigned i = 0; ph_anything_pending() && i < ph_descriptions_used; i++) {
		struct ph_description *d = ph_description_at(i);
		int64_t r;

		if (!ph_dirty_test(d) || (d->handled & ~layers))
			continue;
		r = ph_description_settle(walk, d, why);
		if (r < 0 && !d->error)
			d->error = r;
	}
}

void ph_settle_all_held(struct ph_walk *walk, enum ph_why why)
{
	ph_settle_of_held(walk, ~0u, why);
}

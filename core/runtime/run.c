#include "run.h"

#include "examined.h"
#include "guard.h"
#include "isolated.h"
#include "keeper.h"
#include "numbers.h"

/* --- faults ---------------------------------------------------------------------------------------------- */

void ph_layer_off(unsigned layer, enum ph_why why)
{
	struct ph_rule_control *control = ph_layers[layer].control;
	uint32_t on = 0;

	__atomic_compare_exchange_n(&control->switched_off, &on, 1 + (uint32_t)why, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	__atomic_store_n(&control->enabled, 0, __ATOMIC_RELEASE);
}

/* The rule's code faulted: what it left pending is made good, and the call goes on below it, unless the rule has made it
 * already. */
static int64_t contain(struct ph_walk *walk, struct ph_k *k)
{
	ph_count_why(k->layer, PH_WHY_CONTAINED);
	ph_layer_off(k->layer, PH_WHY_CONTAINED);
	if (k->opened)
		ph_k_close(k, k->opened - 1);
	if (k->forwarded)
		return k->result;
	if (k->f && walk->d) {
		int64_t r = ph_layer_settle(walk, k->layer, walk->d, PH_WHY_CONTAINED);

		if (r < 0)
			return r;
	}
	return ph_layer_call(walk, k->layer + 1, k->call);
}

int64_t ph_run(struct ph_walk *walk, unsigned layer, const struct ph_handles *handles, struct ph_state *f,
	       const struct ph_call *call)
{
	struct ph_k k = { .walk = walk, .call = call, .f = f, .layer = layer };
	uint64_t before[PH_STATE_MAX / 8], *state = (uint64_t *)f, start;
	uint32_t calls = walk->kernel_calls, words = f ? ph_layers[layer].state_words : 0;
	struct ph_check check = { 0 };
	int64_t r;

	if (ph_layers[layer].control->trust == PH_TRUST_ISOLATED) {
		ph_check_begin(walk, layer, call, &check);
		if (walk->aborted)
			return -PH_EAGAIN;
		calls = walk->kernel_calls;
	}
	for (uint32_t i = 0; i < words; i++)
		before[i] = state[i];
	k.timed = !walk->trial && ph_pay_due() && !ph_layers[layer].rule->examines;	/* its answers are trials */
	start = k.timed ? ph_ticks() : 0;
	r = ph_guarded(&k, f, call->a, handles->run);
	if (r == PH_FAULTED) {
		if (walk->trial) {	/* once more, firmly */
			walk->aborted = true;
			return -PH_EAGAIN;
		}
		/* Half a change without effect outside is none. */
		for (uint32_t i = 0; i < words && walk->kernel_calls == calls; i++)
			state[i] = before[i];
		return contain(walk, &k);
	}
	if (start && (k.hit || !ph_layers[layer].rule->looks))	/* what is learned pays in another program */
		ph_pay_call(layer, ph_ticks() - start - k.below, k.hit);
	return check.due && !k.forwarded ? ph_check_end(walk, layer, call, &check, r) : r;
}

bool ph_run_pending(struct ph_walk *walk, unsigned layer, struct ph_description *d)
{
	struct ph_k k = { .walk = walk, .layer = layer };
	int64_t r = ph_guarded(&k, ph_state_of(walk, d, layer), (const void *)(int64_t)d->fd, ph_layers[layer].rule->pending);

	return r == PH_FAULTED || (r & 1);
}

/* The mechanism's own record: the bytes that lie in the buffer. What a rule has in its fields it alone knows. */
static int64_t write_out(struct ph_k *k, struct ph_state *f, int64_t fd, int64_t len)
{
	f->len = 0;
	if (ph_layers[k->layer].rule->reads_ahead)	/* they are the file's already */
		return 0;
	return len > 0 ? ph_k_write_all(k, fd, f, len) : 0;
}

int64_t ph_run_settle(struct ph_walk *walk, unsigned layer, struct ph_description *d)
{
	struct ph_state *f = ph_state_of(walk, d, layer);
	struct ph_k k = { .walk = walk, .layer = layer };
	uint32_t calls = walk->kernel_calls;
	int64_t len = f->len, fd = walk->stand_in ? walk->stand_in - 1 : d->fd, r;
	uint64_t start = ph_ticks();
	bool kept = ph_keeper_begin(walk, d), tells;

	tells = ph_layers[layer].rule->effects && !walk->stand_in && ph_changes_begin(fd);
	r = ph_guarded(&k, f, (const void *)fd, ph_layers[layer].rule->settle);
	if (kept)
		ph_keeper_end(d);
	if (r == PH_FAULTED) {
		ph_count_why(layer, PH_WHY_CONTAINED);
		ph_layer_off(layer, PH_WHY_CONTAINED);
		if (!ph_layers[layer].rule->buffer_bytes || ph_layers[layer].rule->reads_ahead)
			__atomic_fetch_add(&ph_control->settle_failures, 1, __ATOMIC_RELAXED);
		r = walk->kernel_calls == calls ? write_out(&k, f, fd, len) : 0;
		if (tells)
			ph_changes_end();
		return r;
	}
	if (tells)
		ph_changes_end();
	if (start)
		ph_pay_settle(layer, ph_ticks() - start);
	return r;
}

/* --- the balance ----------------------------------------------------------------------------------------- */

/* All of it is approximate where there are threads, and may be: it is a matter of a thousand calls. */
#define SAMPLES 64		/* timed calls between two looks */
#define LOSSES 2		/* looks in a row that find a loss */
#define CALL_AT_MOST 16		/* prices: more was a wait for a processor or a disk, which the call alone would have had */
#define SETTLE_AT_MOST 2		/* times what a settle usually takes: the same */

static struct balance {
	uint64_t took;		/* ticks, of all calls as far as the timed ones tell, and of all settles */
	uint64_t usual;		/* ticks of a settle: about the median of them */
	uint32_t samples, hits, losses;
} balances[PH_RULES_MAX];

PH_HOT_DATA uint32_t ph_pay_turn;
static bool weighing;
static uint64_t begun_ticks, begun_ns;

static uint64_t now_ns(void)
{
	uint64_t t[2] = { 0, 0 };

	ph_syscall(PH_NR_clock_gettime, PH_CLOCK_MONOTONIC, (int64_t)t, 0, 0, 0, 0);
	return t[0] * 1000000000 + t[1];
}

uint64_t ph_ticks(void)
{
	return weighing ? __builtin_ia32_rdtsc() : 0;
}

int ph_pay_init(void)
{
	int32_t mode = 0;
	bool any = false;

	for (unsigned i = 0; i < PH_RULES_MAX; i++)
		balances[i] = (struct balance){ 0 };
	for (unsigned i = 0; i < ph_n_layers; i++)
		any = any || ph_layers[i].control->price_ns;
	if (!any || ph_syscall(PH_NR_prctl, PH_PR_GET_TSC, (int64_t)&mode, 0, 0, 0, 0) < 0 || mode != PH_PR_TSC_ENABLE)
		return 0;
	begun_ns = now_ns();
	begun_ticks = __builtin_ia32_rdtsc();
	weighing = true;
	return 0;
}

void ph_pay_stop(void)
{
	weighing = false;
}

static uint64_t at_most(uint64_t ticks, uint64_t most)
{
	return ticks < most ? ticks : most;
}

/* What the calls that the rule replaced would have cost by the plan's prices, against what it took. */
static void look(unsigned layer, struct balance *b)
{
	uint64_t ns = now_ns() - begun_ns, ticks = __builtin_ia32_rdtsc() - begun_ticks;
	uint64_t ns_in_1024 = ticks ? ns * 1024 / ticks : 0, took_ns = b->took / 1024 * ns_in_1024;
	uint64_t saved_ns = (uint64_t)b->hits * PH_PAY_EVERY * ph_layers[layer].control->price_ns;

	/* Prices are right within a quarter, and the clock runs on while another has the processor. */
	b->losses = took_ns > saved_ns + saved_ns / 2 ? b->losses + 1 : 0;
	b->samples = b->hits = 0;
	b->took = 0;
	if (b->losses >= LOSSES) {
		ph_count_why(layer, PH_WHY_NO_GAIN);
		ph_layer_off(layer, PH_WHY_NO_GAIN);
	}
}

void ph_pay_call(unsigned layer, uint64_t ticks, bool hit)
{
	struct balance *b = &balances[layer];
	uint64_t price = ph_layers[layer].control->price_ns;

	if (!price || !weighing)
		return;
	b->took += PH_PAY_EVERY * at_most(ticks, CALL_AT_MOST * price * 4);	/* no processor has more ticks a nanosecond */
	b->hits += hit;
	if (++b->samples >= SAMPLES)
		look(layer, b);
}

void ph_pay_settle(unsigned layer, uint64_t ticks)
{
	struct balance *b = &balances[layer];

	if (!ph_layers[layer].control->price_ns || !weighing)
		return;
	if (!b->usual)
		b->usual = ticks;
	b->usual = ticks > b->usual ? b->usual + b->usual / 16 : b->usual - b->usual / 16;
	b->took += at_most(ticks, SETTLE_AT_MOST * b->usual);
}

#include "hold.h"

#include <stdatomic.h>

#include "descriptions.h"
#include "dispatch.h"
#include "keeper.h"
#include "numbers.h"

#define ALIVE 0x70656570686f6c65ull
#define FIRM 1ull
#define DEFERRED 2ull		/* a signal waits for the end of the hold, and with it all others */
_Static_assert(PH_OWNER_KEEPER & FIRM, "nobody takes over from the keeper");
#define SELF_BITS 0x0000fffffffffff0ull
#define LOCAL_COMMITS 48		/* bits of a local ticket below the index */
#define SPINS 200
#define NAP_NS 1000000
#define NAPS_BEFORE_TAKEOVER 5		/* of a trial, which lasts nanoseconds unless its thread does not run */
#define NAPS_BEFORE_ASKING 20		/* whether the keeper, in whose way we are, is still alive */

struct shared_page {
	_Atomic uint64_t alive;
	_Atomic uint32_t turn;		/* futex: counts releases */
	_Atomic uint32_t sleepers;
	_Atomic uint32_t windows;
	uint32_t pad;
	_Atomic uint64_t stamp;
};

static PH_HOT_DATA struct shared_page *page;
static struct ph_head *const head = &ph_region.head;
static volatile uint64_t firm_holds;	/* counted by whoever holds */
static PH_HOT_DATA _Atomic bool threads;
static _Atomic bool masking;		/* the program has a signal handler that can't be deferred: two calls a hold */
static volatile uint64_t deferred_mask;	/* where DEFERRED is set: what signals the program itself holds back */

int ph_hold_init(void)
{
	if (!page)	/* it stays when the runtime is taken out of a program, and put in again */
		page = ph_map(4096);
	if (!page)
		return -PH_ENOMEM;
	/* Without WIPEONFORK (Linux < 4.14) a child could inherit a held lock: then nothing is armed. */
	int64_t r = ph_syscall(PH_NR_madvise, (int64_t)page, 4096, PH_MADV_WIPEONFORK, 0, 0, 0);
	if (r < 0)
		return (int)r;
	atomic_store(&page->alive, ALIVE);
	return 0;
}

bool ph_hold_forked(void)
{
	return atomic_load_explicit(&page->alive, memory_order_relaxed) != ALIVE;
}

void ph_hold_adopt(void)
{
	atomic_store(&page->alive, ALIVE);
	/* Of a thread that the child does not have. */
	atomic_store(&head->owner, 0);
	atomic_store(&head->local, 0);
	atomic_store(&head->ended, 0);
	atomic_store(&threads, false);
}

static void released(void)
{
	atomic_fetch_add(&page->turn, 1);
	if (atomic_load(&page->sleepers))
		ph_syscall(PH_NR_futex, (int64_t)&page->turn, PH_FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

/* Atomic to signal handlers of this thread, not to other threads. */
static inline bool swap_here(_Atomic uint64_t *at, uint64_t from, uint64_t to)
{
	bool done;

	__asm__ volatile("cmpxchg %3, %1" : "=@ccz"(done), "+m"(*at), "+a"(from) : "r"(to) : "memory");
	return done;
}

static uint64_t load(const _Atomic uint64_t *at)
{
	return atomic_load_explicit(at, memory_order_relaxed);
}

static inline uint64_t local_ticket(const struct ph_description *d, uint64_t word)
{
	return (uint64_t)(ph_description_index(d) + 1) << LOCAL_COMMITS | word >> PH_WORD_COMMITS;
}

/* The description of a trial that is still on, or NULL. */
static inline struct ph_description *local_trial(uint64_t ticket)
{
	struct ph_description *d;

	if (!ticket)
		return NULL;
	d = ph_description_at((unsigned)(ticket >> LOCAL_COMMITS) - 1);
	return local_ticket(d, load(&d->word)) == ticket ? d : NULL;
}

bool ph_trial_on(uint64_t local)
{
	return local_trial(local) != NULL;
}

static bool begin_alone(const struct ph_description *d, struct ph_trial *trial)
{
	uint64_t seen = load(&head->local);

	trial->word = load(&d->word);
	trial->threads = false;
	trial->ticket = local_ticket(d, trial->word);
	if ((seen != load(&head->ended) && local_trial(seen)) || !swap_here(&head->local, seen, trial->ticket))
		return false;
	/* A handler before the swap may have changed everything, and made threads; one after it takes over. The owner is
	 * looked at behind the swap: the keeper first becomes owner, then makes sure that we see it, then looks for us. */
	if (!load(&head->owner) && !atomic_load_explicit(&threads, memory_order_relaxed) && load(&d->word) == trial->word)
		return true;
	swap_here(&head->local, trial->ticket, 0);
	return false;
}

static __attribute__((noinline)) bool begin_among_threads(const struct ph_description *d, struct ph_trial *trial)
{
	uint64_t free = 0, mine = ph_self() | (uint64_t)(ph_description_index(d) + 1) << 48;

	if (!atomic_compare_exchange_strong(&head->owner, &free, mine))
		return false;
	*trial = (struct ph_trial){ mine, atomic_load(&d->word), true };
	return true;
}

bool ph_trial_begin(const struct ph_description *d, struct ph_trial *trial)
{
	if (__builtin_expect(!atomic_load_explicit(&threads, memory_order_relaxed), 1))
		return begin_alone(d, trial);
	return begin_among_threads(d, trial);
}

bool ph_trial_commit(struct ph_description *d, const struct ph_trial *trial, uint32_t touched)
{
	uint64_t word = trial->word, next = (word ^ touched) + PH_WORD_STEP;

	if (__builtin_expect(!trial->threads, 1)) {
		if (!swap_here(&d->word, word, next))
			return false;
		atomic_store_explicit(&head->ended, trial->ticket, memory_order_relaxed);
		return true;
	}
	return atomic_compare_exchange_strong(&d->word, &word, next);
}

bool ph_trial_end(const struct ph_trial *trial, bool committed)
{
	uint64_t mine = trial->ticket;

	if (__builtin_expect(!trial->threads, 1))
		return committed || swap_here(&head->local, mine, 0);
	if (!atomic_compare_exchange_strong(&head->owner, &mine, 0))
		return false;
	if (atomic_load(&page->sleepers))
		released();
	return true;
}

uint64_t ph_hold_signals(void)
{
	/* Not SIGBUS and SIGSEGV: a copy of bad user memory raises them, and blocked they would kill (faults.c). */
	uint64_t most = ~(1ull << 6 | 1ull << 10), old = 0;

	ph_syscall(PH_NR_rt_sigprocmask, PH_SIG_SETMASK, (int64_t)&most, (int64_t)&old, 8, 0, 0);
	return old;
}

void ph_hold_open_signals(uint64_t old)
{
	ph_syscall(PH_NR_rt_sigprocmask, PH_SIG_SETMASK, (int64_t)&old, 0, 8, 0, 0);
}

/* Signals are open while it sleeps. */
static void nap(uint64_t seen)
{
	int64_t interval[2] = { 0, NAP_NS };
	uint32_t turn;

	atomic_fetch_add(&page->sleepers, 1);
	turn = atomic_load(&page->turn);
	if (atomic_load(&head->owner) == seen)
		ph_syscall(PH_NR_futex, (int64_t)&page->turn, PH_FUTEX_WAIT_PRIVATE, turn, (int64_t)interval, 0, 0);
	atomic_fetch_sub(&page->sleepers, 1);
}

/* One attempt; `seen` is the owner met. True when the word is ours. */
static bool take(uint64_t self, bool from_stuck_trial, uint64_t *seen)
{
	for (int spin = 0; spin < SPINS; spin++) {
		*seen = 0;
		if (atomic_compare_exchange_strong(&head->owner, seen, self | FIRM))
			return true;
		if ((*seen & SELF_BITS) == self)
			break;
		__builtin_ia32_pause();
	}
	/* A trial of this very thread means that a signal handler interrupted it; one of another thread that has not
	 * moved for several naps, that its thread does not run. Either can be taken over. */
	return !(*seen & FIRM) && ((*seen & SELF_BITS) == self || from_stuck_trial) &&
	       atomic_compare_exchange_strong(&head->owner, seen, self | FIRM);
}

/* The local trial that a firm hold of the only thread finds in its way: the index, or -1. */
static int take_local(void)
{
	struct ph_description *d;

	if (atomic_load(&threads))
		return -1;
	d = local_trial(load(&head->local));
	atomic_store_explicit(&head->local, 0, memory_order_relaxed);
	return d ? (int)ph_description_index(d) : -1;
}

/* The index of the description whose trial was in the way of a hold that met `seen`, or -1. */
static int taken_over(uint64_t seen)
{
	return seen >> 48 ? (int)(seen >> 48) - 1 : take_local();
}

bool ph_glance_begin(struct ph_glance *glance)
{
	*glance = (struct ph_glance){ firm_holds, load(&head->ended) };
	return !atomic_load(&threads);
}

bool ph_glance_end(const struct ph_glance *glance)
{
	return firm_holds == glance->firm && load(&head->ended) == glance->ended;
}

static bool take_from_keeper(uint64_t self, struct ph_firm *firm)
{
	uint64_t keeper = PH_OWNER_KEEPER;

	firm->blocked = true;
	firm->signals = ph_hold_signals();
	if (atomic_compare_exchange_strong(&head->owner, &keeper, self | FIRM))
		return true;
	ph_hold_open_signals(firm->signals);
	return false;
}

int ph_firm_begin(struct ph_firm *firm)
{
	const uint64_t self = ph_self();
	uint64_t seen = 0, stuck = 0;
	int naps = 0;

	for (;;) {
		firm->blocked = atomic_load(&masking);
		firm->signals = firm->blocked ? ph_hold_signals() : ~0ull;
		if (take(self, naps >= NAPS_BEFORE_TAKEOVER, &seen)) {
			/* Another thread may be installing the first such handler just now; it waits for this hold. */
			if (!firm->blocked && atomic_load(&masking)) {
				firm->signals = ph_hold_signals();
				firm->blocked = true;
			}
			firm_holds++;
			return taken_over(seen);
		}
		if (firm->blocked)
			ph_hold_open_signals(firm->signals);
		naps = seen == stuck ? naps + 1 : 0;
		stuck = seen;
		if (seen == PH_OWNER_KEEPER && naps % NAPS_BEFORE_ASKING == NAPS_BEFORE_ASKING - 1 && ph_keeper_gone() &&
		    take_from_keeper(self, firm))
			return PH_KEEPER_DIED;
		nap(seen);
	}
}

void ph_firm_end(const struct ph_firm *firm)
{
	uint64_t owner = ph_self() | FIRM, mask = firm->signals;
	bool deferred = false;

	if (!atomic_compare_exchange_strong(&head->owner, &owner, 0)) {	/* from here on no other comes */
		deferred = owner & DEFERRED;
		if (deferred)
			mask &= deferred_mask;
		atomic_store(&head->owner, 0);
	}
	if (atomic_load(&page->sleepers))
		released();
	if (deferred || firm->blocked)
		ph_hold_open_signals(mask);
}

bool ph_hold_mine(void)
{
	/* A fork's child that has done nothing yet may look at its parent's word. */
	return (load(&head->owner) & ~DEFERRED) == (ph_self() | FIRM) && !ph_hold_forked();
}

void ph_hold_defer(uint64_t mask)
{
	/* Of several that came at once, the last one is the first to be here: what stood in its context holds the others back. */
	deferred_mask = load(&head->owner) & DEFERRED ? deferred_mask & mask : mask;
	atomic_fetch_or(&head->owner, DEFERRED);
}

void ph_hold_threads(void)
{
	atomic_store(&threads, true);
}

bool ph_hold_threaded(void)
{
	return atomic_load(&threads);
}

bool ph_hold_mask(void)
{
	return page && !atomic_exchange(&masking, true);
}

void ph_window_open(void)
{
	atomic_fetch_add(&page->windows, 1);
	atomic_fetch_add(&page->stamp, 1);
}

void ph_window_close(void)
{
	/* A parent's count; a child's was wiped. */
	if (atomic_load(&page->windows))
		atomic_fetch_sub(&page->windows, 1);
}

uint64_t ph_window_stamp(void)
{
	return atomic_load(&page->stamp);
}

bool ph_window_any(void)
{
	return atomic_load(&page->windows) != 0;
}

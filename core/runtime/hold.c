#include "hold.h"

#include <stdatomic.h>

#include "dispatch.h"
#include "numbers.h"

#define ALIVE 0x70656570686f6c65ull
#define FIRM 1ull
#define SELF_BITS 0x0000fffffffffff0ull
#define SPINS 200
#define NAP_NS 1000000
#define NAPS_BEFORE_TAKEOVER 5		/* of a trial, which lasts nanoseconds unless its thread does not run */

struct shared_page {
	_Atomic uint64_t alive;
	_Atomic uint64_t owner;
	_Atomic uint32_t turn;		/* futex: counts releases */
	_Atomic uint32_t sleepers;
	_Atomic uint32_t windows;
	uint32_t pad;
	_Atomic uint64_t stamp;
};

static struct shared_page *page;
static _Atomic bool handlers;		/* the program has signal handlers: two calls a hold, which most programs save */

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
}

static void released(void)
{
	atomic_fetch_add(&page->turn, 1);
	if (atomic_load(&page->sleepers))
		ph_syscall(PH_NR_futex, (int64_t)&page->turn, PH_FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

bool ph_trial_begin(unsigned description, uint64_t *ticket)
{
	uint64_t free = 0, mine = ph_self() | (uint64_t)(description + 1) << 48;

	if (!atomic_compare_exchange_strong(&page->owner, &free, mine))
		return false;
	*ticket = mine;
	return true;
}

bool ph_trial_end(uint64_t ticket)
{
	if (!atomic_compare_exchange_strong(&page->owner, &ticket, 0))
		return false;
	if (atomic_load(&page->sleepers))
		released();
	return true;
}

static uint64_t hold_signals(void)
{
	/* Not SIGBUS and SIGSEGV: a copy of bad user memory raises them, and blocked they would kill (faults.c). */
	uint64_t most = ~(1ull << 6 | 1ull << 10), old = 0;

	ph_syscall(PH_NR_rt_sigprocmask, PH_SIG_SETMASK, (int64_t)&most, (int64_t)&old, 8, 0, 0);
	return old;
}

static void open_signals(uint64_t old)
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
	if (atomic_load(&page->owner) == seen)
		ph_syscall(PH_NR_futex, (int64_t)&page->turn, PH_FUTEX_WAIT_PRIVATE, turn, (int64_t)interval, 0, 0);
	atomic_fetch_sub(&page->sleepers, 1);
}

/* One attempt; `seen` is the owner met. True when the word is ours. */
static bool take(uint64_t self, bool from_stuck_trial, uint64_t *seen)
{
	for (int spin = 0; spin < SPINS; spin++) {
		*seen = 0;
		if (atomic_compare_exchange_strong(&page->owner, seen, self | FIRM))
			return true;
		if ((*seen & SELF_BITS) == self)
			break;
		__builtin_ia32_pause();
	}
	/* A trial of this very thread means that a signal handler interrupted it; one of another thread that has not
	 * moved for several naps, that its thread does not run. Either can be taken over. */
	return !(*seen & FIRM) && ((*seen & SELF_BITS) == self || from_stuck_trial) &&
	       atomic_compare_exchange_strong(&page->owner, seen, self | FIRM);
}

int ph_firm_begin(struct ph_firm *firm)
{
	const uint64_t self = ph_self();
	uint64_t seen = 0, stuck = 0;
	int naps = 0;

	for (;;) {
		firm->blocked = atomic_load(&handlers);
		firm->signals = firm->blocked ? hold_signals() : 0;
		if (take(self, naps >= NAPS_BEFORE_TAKEOVER, &seen)) {
			/* Another thread may be installing the first handler just now; it waits for this hold. */
			if (firm->blocked || !atomic_load(&handlers))
				return (int)(seen >> 48) - 1;
			firm->signals = hold_signals();
			firm->blocked = true;
			return (int)(seen >> 48) - 1;
		}
		if (firm->blocked)
			open_signals(firm->signals);
		naps = seen == stuck ? naps + 1 : 0;
		stuck = seen;
		nap(seen);
	}
}

void ph_firm_end(const struct ph_firm *firm)
{
	atomic_store(&page->owner, 0);
	if (atomic_load(&page->sleepers))
		released();
	if (firm->blocked)
		open_signals(firm->signals);
}

bool ph_hold_handlers(void)
{
	return page && !atomic_exchange(&handlers, true);
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

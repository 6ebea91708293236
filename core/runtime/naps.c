/* Sleeps in a row: what each thread asked for last. See rule.h. */
#include "naps.h"

#include "classes.h"

#define ROWS 64		/* of threads whose numbers fall on one row, the first has it */
#define NAP_NS 20000
#define NAPS_ALIKE 4	/* then they double: what is waited for is noticed late by a quarter of its time at most */
#define FIRST_NS 10000000	/* a first sleep is only cut from here on: it may have to be made up for, which costs a call */
#define SECOND_NS 1000000000ll
#define SECONDS_MAX 1000000000	/* more than a signed number of nanoseconds has room for nine times */

static struct row {
	_Atomic uint64_t self;
	int64_t seconds, nanoseconds;
	int64_t times;
	int64_t owed_ns;	/* of a first sleep */
} rows[ROWS];

static struct row *mine(uint64_t self)
{
	return &rows[(self >> 6 ^ self >> 12 ^ self >> 20) % ROWS];
}

/* Whether a handler of the program's could end a sleep of this thread with EINTR. Those of SIGBUS, SIGSEGV and SIGSYS may be
 * ours, and come of what a thread does; 32 and 33 are the C library's. */
static bool can_be_interrupted(void)
{
	static const uint64_t others = 1ull << (7 - 1) | 1ull << (11 - 1) | 1ull << (31 - 1) | 1ull << (32 - 1) | 1ull << (33 - 1);
	uint64_t blocked = 0, action[4];

	if (ph_syscall(PH_NR_rt_sigprocmask, 0, 0, (int64_t)&blocked, 8, 0, 0) < 0)
		return true;
	for (int signal = 1; signal <= 64; signal++) {
		if ((blocked | others) >> (signal - 1) & 1)
			continue;
		if (ph_syscall(PH_NR_rt_sigaction, signal, 0, (int64_t)action, 8, 0, 0) == 0 && action[0] > 1)
			return true;
	}
	return false;
}

/* What a first sleep was cut by, no second has followed: the thread sleeps it now. */
static void pay(struct row *row)
{
	int64_t rest[2] = { row->owed_ns / SECOND_NS, row->owed_ns % SECOND_NS };

	row->owed_ns = 0;
	ph_syscall(PH_NR_nanosleep, (int64_t)rest, 0, 0, 0, 0, 0);
}

void ph_naps_end(void)
{
	uint64_t self = ph_self();
	struct row *row = mine(self);

	if (atomic_load_explicit(&row->self, memory_order_relaxed) != self)
		return;
	if (row->owed_ns)
		pay(row);
	atomic_store_explicit(&row->self, 0, memory_order_release);
	__atomic_fetch_sub(&ph_notable.naps, 1, __ATOMIC_RELAXED);
}

void ph_naps_adopt(void)
{
	uint64_t self = ph_self();

	ph_notable.naps = 0;
	for (unsigned i = 0; i < ROWS; i++) {
		bool own = atomic_load_explicit(&rows[i].self, memory_order_relaxed) == self;

		ph_notable.naps += own;
		if (!own)
			atomic_store_explicit(&rows[i].self, 0, memory_order_relaxed);
	}
}

int64_t ph_in_a_row(struct ph_k *k, int64_t request)
{
	uint64_t self = ph_self();
	struct row *row = mine(self);
	uint64_t nobody = 0;
	int64_t asked[2];

	(void)k;
	if (ph_copy_in(asked, (const void *)request, sizeof(asked)) < 0)
		return 0;
	if (atomic_load_explicit(&row->self, memory_order_relaxed) == self) {
		if (row->seconds == asked[0] && row->nanoseconds == asked[1]) {
			row->owed_ns = 0;
			return ++row->times;
		}
		ph_naps_end();
	}
	if (!atomic_compare_exchange_strong(&row->self, &nobody, self))
		return 0;
	__atomic_fetch_add(&ph_notable.naps, 1, __ATOMIC_RELAXED);
	row->seconds = asked[0];
	row->nanoseconds = asked[1];
	row->times = 1;
	row->owed_ns = 0;
	return 1;
}

int64_t ph_nap(struct ph_k *k, int64_t request, int64_t times)
{
	struct row *row = mine(ph_self());
	struct ph_call c = *k->call;
	int64_t asked[2], all, ns, r;

	if (ph_copy_in(asked, (const void *)request, sizeof(asked)) < 0 || asked[0] < 0 || asked[0] > SECONDS_MAX ||
	    asked[1] < 0 || asked[1] >= SECOND_NS || times < 0)
		return ph_forward(k);
	all = asked[0] * SECOND_NS + asked[1];
	ns = (int64_t)NAP_NS << (times / NAPS_ALIKE < 30 ? times / NAPS_ALIKE : 30);
	if (ns >= all || (times == 0 && (all < FIRST_NS || can_be_interrupted())))
		return ph_forward(k);
	asked[0] = ns / SECOND_NS;
	asked[1] = ns % SECOND_NS;
	c.a[c.nr == PH_NR_nanosleep ? 0 : 2] = (int64_t)asked;
	r = ph_layer_call(k->walk, k->layer + 1, &c);
	/* A signal handler's calls end the row. */
	if (r == 0 && times == 0 && atomic_load_explicit(&row->self, memory_order_relaxed) == ph_self())
		row->owed_ns = all - ns;
	return r;
}

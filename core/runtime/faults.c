/* Bad user memory and the signals it raises. Our handlers of SIGSEGV and SIGBUS stand before the program's, which keep
 * what they would see without us: registers, stack, siginfo, mask, flags; and rt_sigaction tells the program its own. */
#include "engine.h"

#include "guard.h"
#include "hold.h"
#include "linux.h"
#include "signals.h"

#define SPINS 100000

struct watched {
	int32_t signal;
	uint32_t lock;
	struct ph_action theirs;
};

static struct watched watched[] = { { .signal = SIGSEGV }, { .signal = SIGBUS }, { .signal = SIGSYS } };

static unsigned n_watched = 2;	/* SIGSYS, the last, only where calls are, or were, trapped */

int64_t ph_copy(void *to, const void *from, size_t n);
void ph_restorer(void);
void ph_fault_entry(void);
uint64_t ph_fault(int32_t signal, struct ph_siginfo *info, uint64_t *context);
extern const char ph_copy_end[], ph_copy_fault[], __ehdr_start[];

static struct watched *watch_of(int64_t signal)
{
	for (unsigned i = 0; i < n_watched; i++)
		if (watched[i].signal == signal)
			return &watched[i];
	return NULL;
}

/* What the kernel is told when the program wants `theirs`. */
static struct ph_action ours(const struct watched *w, const struct ph_action *theirs)
{
	struct ph_action a = { .handler = (uint64_t)ph_fault_entry, .flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART,
			    .mask = theirs->mask };

	if (theirs->handler > SIG_IGN)
		a.flags = (theirs->flags & ~SA_RESETHAND) | SA_SIGINFO;	/* which only adds to what it sees */
	a.restorer = theirs->restorer;
	if (!(theirs->flags & SA_RESTORER) || !theirs->restorer)
		a.restorer = (uint64_t)ph_restorer;
	if (ph_engine.trapping)
		a.mask &= ~PH_SIGSYS_BIT;
	if (w->signal == SIGSYS) {
		a.flags |= SA_NODEFER;	/* a handler that interrupts it makes calls too */
		if (theirs->handler <= SIG_IGN)	/* none does: it would be on another stack, and return to another mask */
			a.mask = PH_HELD_BACK & ~PH_SIGSYS_BIT;
		a.restorer = (uint64_t)ph_restorer;
	}
	a.flags |= SA_RESTORER;
	return a;
}

int64_t ph_copy_in(void *to, const void *user_from, size_t n)
{
	return ph_copy(to, user_from, n);
}

int64_t ph_copy_out(void *user_to, const void *from, size_t n)
{
	return ph_copy(user_to, from, n);
}

int ph_faults_prepare(void)
{
	if (ph_engine.trapping)
		n_watched = sizeof(watched) / sizeof(watched[0]);
	for (unsigned i = 0; i < n_watched; i++) {
		struct ph_action now;
		int64_t r = ph_kernel_action(watched[i].signal, NULL, &now);

		if (r < 0)
			return (int)r;
		if (now.handler != (uint64_t)ph_fault_entry)
			watched[i].theirs = now;
	}
	ph_engine.faults = true;
	return 0;
}

static bool same_action(const struct ph_action *a, const struct ph_action *b)
{
	return a->handler == b->handler && a->flags == b->flags && a->restorer == b->restorer && a->mask == b->mask;
}

int ph_faults_install(void)
{
	for (unsigned i = 0; i < n_watched; i++) {
		struct watched *w = &watched[i];
		struct ph_action a = ours(w, &w->theirs), before;
		int64_t r = ph_kernel_action(w->signal, &a, &before);

		if (r == 0 && before.handler != (uint64_t)ph_fault_entry && !same_action(&before, &w->theirs)) {
			w->theirs = before;
			a = ours(w, &before);
			r = ph_kernel_action(w->signal, &a, NULL);
		}
		if (r < 0)
			return (int)r;
	}
	return 0;
}

/* SIGSYS's handler stays: a thread may have been stopped on the way to it. */
void ph_faults_remove(void)
{
	ph_signals_unwrap();
	for (unsigned i = 0; ph_engine.faults && i < n_watched; i++) {
		struct ph_action before;

		if (watched[i].signal != SIGSYS && ph_kernel_action(watched[i].signal, &watched[i].theirs, &before) == 0 &&
		    before.handler != (uint64_t)ph_fault_entry)
			ph_kernel_action(watched[i].signal, &before, NULL);
	}
	ph_engine.faults = false;
}

/* Signals held, so that no handler of this thread finds the lock taken by itself. A fork's child may inherit it
 * taken by a thread that it does not have: then the wait ends. */
static uint64_t lock(struct watched *w)
{
	uint64_t all = ~0ull, mask = 0;

	ph_syscall(NR_rt_sigprocmask, SIG_SETMASK, (int64_t)&all, (int64_t)&mask, 8, 0, 0);
	for (int i = 0; i < SPINS && __atomic_exchange_n(&w->lock, 1, __ATOMIC_ACQUIRE); i++)
		__builtin_ia32_pause();
	return mask;
}

static void unlock(struct watched *w, uint64_t mask)
{
	__atomic_store_n(&w->lock, 0, __ATOMIC_RELEASE);
	ph_syscall(NR_rt_sigprocmask, SIG_SETMASK, (int64_t)&mask, 0, 8, 0, 0);
}

static int64_t change(struct watched *w, const struct ph_action *wish, struct ph_action *before)
{
	uint64_t mask = lock(w);
	int64_t r = 0;

	*before = w->theirs;
	if (wish) {
		struct ph_action a = ours(w, wish);

		r = ph_kernel_action(w->signal, &a, NULL);
		if (r == 0) {
			w->theirs = *wish;
			w->theirs.mask &= ~(1ull << 8 | 1ull << 18);	/* as the kernel keeps it: no KILL, no STOP */
		}
	}
	unlock(w, mask);
	return r;
}

/* In a vfork child the kernel's table is the child's own, ours its parent's: it asks and sets its own. */
static int64_t ask_as_child(const struct watched *w, struct ph_action *before)
{
	int64_t r = ph_kernel_action(w->signal, NULL, before);

	if (r == 0 && before->handler == (uint64_t)ph_fault_entry)
		*before = w->theirs;
	return r;
}

int64_t ph_faults_action(const int64_t a[6], bool vfork_child)
{
	struct watched *w = watch_of((int32_t)a[0]);
	struct ph_action wish, before;
	int64_t r = 0;

	if (!w)
		return ph_signals_action(a, vfork_child);
	if (a[1] && ph_copy_in(&wish, (const void *)a[1], sizeof(wish)) < 0)
		r = -EFAULT;
	if (r == 0 && vfork_child) {
		r = ask_as_child(w, &before);
		if (r == 0 && a[1] && w->signal != SIGSYS)	/* which exec makes the default, if it was handled */
			r = ph_kernel_action(w->signal, &wish, NULL);
	} else if (r == 0) {
		r = change(w, a[1] ? &wish : NULL, &before);
	}
	/* As in the kernel: the action has changed even when the old one can't be stored. */
	if (r == 0 && a[2] && ph_copy_out((void *)a[2], &before, sizeof(before)) < 0)
		r = -EFAULT;
	return r;
}

bool ph_faults_concern(const int64_t a[6])
{
	return ph_engine.faults && a[3] == 8;
}

int64_t ph_set_action(const int64_t a[6])
{
	if (!ph_faults_concern(a))
		return ph_syscall(NR_rt_sigaction, a[0], a[1], a[2], a[3], 0, 0);
	return ph_faults_action(a, false);
}

static void become_default(int32_t signal)
{
	struct ph_action dfl = { .handler = SIG_DFL, .flags = SA_RESTORER, .restorer = (uint64_t)ph_restorer };

	ph_kernel_action(signal, &dfl, NULL);
}

/* Where to go on: the program's handler, or 0 for what was interrupted. */
__attribute__((used)) uint64_t ph_fault(int32_t signal, struct ph_siginfo *info, uint64_t *context)
{
	struct watched *w = watch_of(signal);
	uint64_t ip = context[UC_RIP];
	struct ph_action theirs;
	bool sent = info->code <= 0;

	if (signal == SIGSYS && ph_trap_caught(info, context))
		return 0;
	if (!sent && ip >= (uint64_t)ph_copy && ip < (uint64_t)ph_copy_end) {
		context[UC_RIP] = (uint64_t)ph_copy_fault;
		return 0;
	}
	if (!sent && ip >= (uint64_t)__ehdr_start && ip < (uint64_t)ph_stubs && ph_guard_recover(context))
		return 0;
	if (sent && ph_hold_mine()) {
		ph_signal_defer(signal, info, context);
		return 0;
	}
	theirs = w->theirs;
	if (theirs.handler > SIG_IGN) {
		if (theirs.flags & SA_RESETHAND) {
			struct ph_action dfl = { .handler = SIG_DFL };

			change(w, &dfl, &theirs);
		}
		return theirs.handler;
	}
	if (sent && theirs.handler == SIG_IGN)
		return 0;
	become_default(signal);
	if (sent || signal == SIGSYS)
		ph_signal_again(info);
	return 0;	/* a real fault happens again */
}

/* exec keeps ignored signals ignored, which a handler in front of them hides. */
void ph_faults_before_exec(void)
{
	for (unsigned i = 0; ph_engine.faults && i < n_watched; i++) {
		struct ph_action now;

		/* Not SIGSYS: other threads still make calls. */
		if (watched[i].signal != SIGSYS && watched[i].theirs.handler == SIG_IGN && ph_kernel_action(watched[i].signal, NULL, &now) == 0 &&
		    now.handler == (uint64_t)ph_fault_entry)
			ph_kernel_action(watched[i].signal, &watched[i].theirs, NULL);
	}
}

void ph_faults_after_exec(void)
{
	for (unsigned i = 0; ph_engine.faults && i < n_watched; i++) {
		struct ph_action a = ours(&watched[i], &watched[i].theirs);

		if (watched[i].signal != SIGSYS && watched[i].theirs.handler == SIG_IGN)
			ph_kernel_action(watched[i].signal, &a, NULL);
	}
}

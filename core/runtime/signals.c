/* Signals that come while their thread holds the dispatcher's state firmly. The program's handler can't run then, since the
 * calls it makes would wait for that very hold. So the kernel knows entries of ours in place of the program's handlers
 * (entry.S): each looks whether a hold is on, and jumps to its handler with everything as the kernel gave it. In a hold it sends
 * the signal to its thread once more, holds all back, and returns; the end of the hold lets them in (hold.c).
 *
 * The kernel stays the one that knows what action a signal has: which handler an entry stands for never changes, so that
 * threads, forks, a vfork's child with actions of its own and handlers on their way find the right one without a lock.
 *
 * Where a signal can't come again as it came, its handler stays as it is and signals are held back around every hold
 * (ph_handler_begin): that of a real-time signal, which would be queued behind its like, or when there are no entries left. */
#include "signals.h"

#include <stdatomic.h>

#include "examined.h"
#include "hold.h"
#include "linux.h"
#include "peephole/abi_keeper.h"

#define ENTRY_BYTES 32		/* entry.S has these numbers too */
#define ENTRIES 128
#define ONCE 96			/* from here on of handlers with SA_RESETHAND, which the kernel is not told of */

_Static_assert(offsetof(struct ph_head, owner) == 24, "entry.S: OWNER");
extern const char ph_signal_entries[], ph_syscall_made[], ph_syscall_once_more[];
_Atomic uint64_t ph_signal_handlers[ENTRIES];	/* never changed once set */

uint64_t ph_signal(int32_t signal, const struct ph_siginfo *info, uint64_t *context, const _Atomic uint64_t *handler);

int64_t ph_kernel_action(int64_t signal, const struct ph_action *act, struct ph_action *old)
{
	return ph_syscall(NR_rt_sigaction, signal, (int64_t)act, (int64_t)old, 8, 0, 0);
}

/* --- entries ------------------------------------------------------------------------------------------------- */

static uint64_t entry_at(unsigned i)
{
	return (uint64_t)ph_signal_entries + i * ENTRY_BYTES;
}

/* The index of an entry, or -1 when it is an address of the program's. */
static int entry_of(uint64_t handler)
{
	uint64_t at = handler - (uint64_t)ph_signal_entries;

	return at < ENTRIES * ENTRY_BYTES && at % ENTRY_BYTES == 0 ? (int)(at / ENTRY_BYTES) : -1;
}

static bool wrap(int64_t signal, struct ph_action *a)
{
	bool once = (a->flags & SA_RESETHAND) != 0;

	if (signal >= SIGRTMIN)
		return false;
	for (unsigned i = once ? ONCE : 0; i < (once ? ENTRIES : ONCE); i++) {
		uint64_t free = 0;

		if (!atomic_compare_exchange_strong(&ph_signal_handlers[i], &free, a->handler) && free != a->handler)
			continue;
		a->handler = entry_at(i);
		a->flags &= ~SA_RESETHAND;
		return true;
	}
	return false;
}

static bool unwrap(struct ph_action *a)
{
	int i = entry_of(a->handler);

	if (i < 0)
		return false;
	a->handler = atomic_load(&ph_signal_handlers[i]);
	a->flags |= i >= ONCE ? SA_RESETHAND : 0;
	return true;
}

uint64_t ph_signals_kept(uint64_t mask)
{
	return mask & ~(ph_signal_bit(SIGKILL) | ph_signal_bit(SIGSTOP) | (ph_engine.trapping ? PH_SIGSYS_BIT : 0));
}

/* What the kernel is given for an action that the program wants. */
static void prepare(int64_t signal, struct ph_action *a)
{
	a->mask = ph_signals_kept(a->mask);
	if (a->handler > SIG_IGN)
		ph_changes_handler(a->flags);
	if (a->handler > SIG_IGN && ph_engine.rules && !wrap(signal, a))
		ph_handler_begin();
}

int64_t ph_signals_action(const int64_t a[6], bool vfork_child)
{
	struct ph_action act, old;
	bool sets = a[1] != 0;
	int64_t r;

	if (sets && ph_copy_in(&act, (const void *)a[1], sizeof(act)) < 0)
		return -EFAULT;
	if (sets && !vfork_child)	/* whose own handlers interrupt no hold */
		prepare((int32_t)a[0], &act);
	r = ph_kernel_action(a[0], sets ? &act : NULL, a[2] ? &old : NULL);
	if (r == 0 && a[2]) {
		unwrap(&old);
		/* As in the kernel: the action has changed even when the old one can't be stored. */
		if (ph_copy_out((void *)a[2], &old, sizeof(old)) < 0)
			r = -EFAULT;
	}
	return r;
}

void ph_signals_before(const int64_t a[6])
{
	struct ph_action act;

	if (a[1] && a[3] == 8 && ph_copy_in(&act, (const void *)a[1], sizeof(act)) == 0)
		prepare((int32_t)a[0], &act);
}

void ph_signals_wrap(void)
{
	for (int64_t signal = 1; signal <= SIGNALS; signal++) {
		struct ph_action a;

		if (signal == SIGSEGV || signal == SIGBUS || ph_kernel_action(signal, NULL, &a) < 0 || a.handler <= SIG_IGN ||
		    entry_of(a.handler) >= 0)
			continue;
		prepare(signal, &a);
		ph_kernel_action(signal, &a, NULL);
	}
}

void ph_signals_unwrap(void)
{
	for (int64_t signal = 1; signal <= SIGNALS; signal++) {
		struct ph_action a;

		if (ph_kernel_action(signal, NULL, &a) == 0 && unwrap(&a))
			ph_kernel_action(signal, &a, NULL);
	}
}

/* --- delivery ------------------------------------------------------------------------------------------------ */

void ph_signal_again(const struct ph_siginfo *info)
{
	ph_syscall(NR_rt_tgsigqueueinfo, ph_syscall(NR_getpid, 0, 0, 0, 0, 0, 0), ph_syscall(NR_gettid, 0, 0, 0, 0, 0, 0), info->signo,
		   (int64_t)info, 0, 0);
}

void ph_signal_defer(int32_t signal, const struct ph_siginfo *info, uint64_t *context)
{
	uint64_t held = PH_HELD_BACK | ph_signal_bit(signal);

	ph_syscall(NR_rt_sigprocmask, SIG_SETMASK, (int64_t)&held, 0, 8, 0, 0);
	if (info)
		ph_signal_again(info);
	else
		ph_syscall(NR_tgkill, ph_syscall(NR_getpid, 0, 0, 0, 0, 0, 0), ph_syscall(NR_gettid, 0, 0, 0, 0, 0, 0), signal, 0, 0, 0);
	ph_hold_defer(context[UC_MASK]);
	context[UC_MASK] = held;
	/* A call of the hold's was interrupted: it is made again. Close is not, which has closed. */
	if (context[UC_RIP] == (uint64_t)ph_syscall_made && (int64_t)context[UC_RAX] == -EINTR &&
	    *(const int64_t *)context[UC_RSP] != NR_close)
		context[UC_RIP] = (uint64_t)ph_syscall_once_more;
}

/* As the kernel does it for SA_RESETHAND, unless the action has been changed meanwhile. */
static void reset(int32_t signal, uint64_t entry)
{
	struct ph_action a, before;

	if (ph_kernel_action(signal, NULL, &a) < 0 || a.handler != entry)
		return;
	a.handler = SIG_DFL;
	a.flags |= SA_RESETHAND;
	ph_kernel_action(signal, &a, &before);
	if (before.handler != entry)
		ph_kernel_action(signal, &before, NULL);
}

/* What an instruction of the thread's own has raised would only be raised again. */
static bool is_fault(const struct ph_siginfo *info)
{
	return info->code > 0 &&
	       (info->signo == SIGILL || info->signo == SIGTRAP || info->signo == SIGFPE || info->signo == SIGSYS);
}

/* In an entry, while somebody holds the state firmly, or of a handler for one signal only: where to go on, the program's handler
 * or 0 for what was interrupted. */
__attribute__((used)) uint64_t ph_signal(int32_t signal, const struct ph_siginfo *info, uint64_t *context,
					 const _Atomic uint64_t *handler)
{
	unsigned i = (unsigned)(handler - ph_signal_handlers);
	struct ph_action a;

	if (ph_hold_mine()) {
		/* Without SA_SIGINFO there is nothing in `info`. */
		if (ph_kernel_action(signal, NULL, &a) < 0 || !(a.flags & SA_SIGINFO))
			info = NULL;
		if (!info || !is_fault(info)) {
			ph_signal_defer(signal, info, context);
			return 0;
		}
	}
	if (i >= ONCE)
		reset(signal, entry_at(i));
	return atomic_load(handler);
}

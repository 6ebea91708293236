/* The actions of signals as the program has last set them: what it would be told if it asked.
 *
 * They are changed only while firmly held, and looked at as the states of the process are (process.c): a trial between whose
 * beginning and end anybody has held them firmly does not count. */
#include "actions.h"

#include "layers.h"
#include "linux.h"
#include "signals.h"

#define STANDARD 32		/* from here on signals are queued, and the C library keeps some to itself */
#define PARTS 4

/* The flags that every kernel keeps as they were given. */
#define KEPT (SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER | SA_RESETHAND | SA_RESTORER | SA_NOCLDSTOP | SA_NOCLDWAIT)

/* Nobody may set the actions of two; those of the others the kernel itself resets when an instruction raises the signal while it
 * is held back or ignored, and a tracer can make the program live on. */
static const uint64_t never = 1 | 1ull << SIGKILL | 1ull << SIGSTOP | 1ull << SIGSEGV | 1ull << SIGBUS | 1ull << SIGILL |
			      1ull << SIGFPE | 1ull << SIGTRAP | 1ull << SIGSYS;
/* What by default does nothing. */
static const uint64_t idle = 1ull << SIGCHLD | 1ull << SIGCONT | 1ull << SIGURG | 1ull << SIGWINCH;

static uint64_t known;		/* a bit a signal */
static uint64_t actions[STANDARD][PARTS];

_Static_assert(sizeof(struct ph_action) == sizeof(actions[0]), "the parts of an action");

void ph_actions_forget(void)
{
	known = 0;
}

void ph_actions_adopt(void)
{
	/* The child got its actions, then its memory: another thread may have changed both in between. */
	if (ph_hold_threaded())
		ph_actions_forget();
}

static bool is_known(int64_t signal)
{
	return (uint64_t)signal < STANDARD && (__atomic_load_n(&known, __ATOMIC_RELAXED) >> signal & 1);
}

static bool may_change(struct ph_k *k, int64_t signal)
{
	k->walk->aborted = k->walk->aborted || k->walk->trial;
	return !k->walk->trial && (uint64_t)signal < STANDARD && !(never >> signal & 1);
}

int64_t ph_action_part(struct ph_k *k, int64_t act, int64_t part)
{
	uint64_t a[PARTS];

	(void)k;
	if (!act || ph_copy_in(a, (const void *)act, sizeof(a)) < 0)
		return -1;
	if (part == PH_ACT_FLAGS)
		return a[PH_ACT_FLAGS] & ~KEPT ? -1 : (int64_t)a[PH_ACT_FLAGS];
	if (part == PH_ACT_MASK)
		return (int64_t)ph_signals_kept(a[PH_ACT_MASK]);
	return (int64_t)a[part & (PARTS - 1)];
}

int64_t ph_action_recalled(struct ph_k *k, int64_t signal, int64_t part)
{
	(void)k;
	return is_known(signal) ? (int64_t)__atomic_load_n(&actions[signal][part & (PARTS - 1)], __ATOMIC_RELAXED) : -1;
}

bool ph_action_discards(int64_t signal, int64_t handler)
{
	return (uint64_t)handler == SIG_IGN || ((uint64_t)handler == SIG_DFL && (uint64_t)signal < STANDARD && (idle >> signal & 1));
}

void ph_action_unsure(struct ph_k *k, int64_t signal)
{
	if (may_change(k, signal))
		known &= ~(1ull << signal);
}

void ph_action_remember(struct ph_k *k, int64_t signal, int64_t handler, int64_t flags, int64_t restorer, int64_t mask)
{
	const int64_t parts[PARTS] = { handler, flags, restorer, mask };

	if (!may_change(k, signal))
		return;
	for (unsigned i = 0; i < PARTS; i++)
		actions[signal][i] = (uint64_t)parts[i];
	known |= 1ull << signal;
}

int64_t ph_action_give(struct ph_k *k, int64_t old, int64_t handler, int64_t flags, int64_t restorer, int64_t mask)
{
	const int64_t parts[PARTS] = { handler, flags, restorer, mask };

	(void)k;
	return old ? ph_copy_out((void *)old, parts, sizeof(parts)) : 0;
}

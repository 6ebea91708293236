/* The program's signal handlers. The kernel is given entries of ours that jump to them, so that one whose thread holds the
 * dispatcher's state firmly can wait for the end of that hold; who asks is told the program's own. */
#ifndef PH_RUNTIME_SIGNALS_H
#define PH_RUNTIME_SIGNALS_H

#include "engine.h"
#include "trap.h"

#define SA_NOCLDSTOP 1ull
#define SA_NOCLDWAIT 2ull
#define SA_SIGINFO 4ull
#define SA_ONSTACK 0x08000000ull
#define SA_RESTART 0x10000000ull
#define SA_NODEFER 0x40000000ull
#define SA_RESETHAND 0x80000000ull
#define SA_RESTORER 0x04000000ull
#define SIG_DFL 0ull
#define SIG_IGN 1ull
#define SIGKILL 9
#define SIGTRAP 5
#define SIGILL 4
#define SIGFPE 8
#define SIGSTOP 19
#define SIGCHLD 17
#define SIGCONT 18
#define SIGURG 23
#define SIGWINCH 28
#define SIGRTMIN 34		/* the C library keeps 32 and 33 to itself */
#define SIGNALS 64
#define UC_RAX 18		/* words: uc_flags, uc_link, uc_stack (3), r8 ... rip */
#define UC_RSP 20
#define UC_RIP 21
#define UC_MASK 37		/* uc_sigmask, behind uc_mcontext (32 words) */

/* All but what a copy of bad user memory raises: held back it would kill. */
#define PH_HELD_BACK (~(1ull << (SIGSEGV - 1) | 1ull << (SIGBUS - 1)))

struct ph_action {		/* the kernel's struct sigaction */
	uint64_t handler, flags, restorer, mask;
};

static inline uint64_t ph_signal_bit(int32_t signal)
{
	return 1ull << (signal - 1);
}

int64_t ph_kernel_action(int64_t signal, const struct ph_action *act, struct ph_action *old);

/* rt_sigaction of the program's: its result. */
int64_t ph_signals_action(const int64_t a[6], bool vfork_child);

/* The handlers that a running program has; and back. */
void ph_signals_wrap(void);
void ph_signals_unwrap(void);

/* The signal of this handler comes again when the hold that it has interrupted ends (ph_hold_mine); `context` is where the
 * handler returns to. */
void ph_signal_defer(int32_t signal, const struct ph_siginfo *info, uint64_t *context);
void ph_signal_again(const struct ph_siginfo *info);

#endif

/* A trapped call goes on in a stub of the place that it was made at, when the handler of SIGSYS returns. So it is treated as a
 * patched one in everything: nothing of a rule runs in a signal handler, the call is made with its own registers and stack, and
 * a thread that waits stands in a stub. Stubs are taken once and kept; what they need to be told lies behind them.
 *
 * The kernel kills a program whose call is trapped while SIGSYS is held back or ignored. So no mask of the program's gets to
 * hold it back, and what a program reads of its masks says so. */
#include "trap.h"

#include <stdatomic.h>

#include "dispatch.h"
#include "linux.h"

#define PR_SET_SYSCALL_USER_DISPATCH 59
#define DISPATCH_OFF 0
#define DISPATCH_ON 1
#define PTRACE_TRACEME 0
#define SYS_USER_DISPATCH 2
#define MACHINE 0xc000003eu	/* AUDIT_ARCH_X86_64 */
#define ALLOW 0
#define BLOCK 1
#define UC_RIP 21		/* words of a ucontext */
#define UC_MASK 37
#define MASK_BYTES 8
#define LATE_BITS 10
#define LATE (1u << LATE_BITS)
#define WORDS_APART 8

/* entry.S: LATE stubs, and as far apart from each other, where each goes on: the address behind the instruction. */
extern struct ph_stub ph_late[LATE];
extern _Atomic uint64_t ph_late_resume[LATE * WORDS_APART];
extern const char ph_late_made[], ph_late_end[], __ehdr_start[];

static volatile char selector;
static bool theirs;		/* the program uses the mechanism itself */

static int arm(void)
{
	return (int)ph_syscall(NR_prctl, PR_SET_SYSCALL_USER_DISPATCH, DISPATCH_ON, (int64_t)__ehdr_start,
			       ph_late_end - __ehdr_start, (int64_t)&selector, 0);
}

int ph_trap_start(void)
{
	uint64_t held = PH_SIGSYS_BIT;
	int r = (int)ph_protect((uint64_t)ph_late_resume, (uint64_t)(ph_late_resume + LATE * WORDS_APART), PROT_READ | PROT_WRITE);

	ph_syscall(NR_rt_sigprocmask, SIG_UNBLOCK, (int64_t)&held, 0, MASK_BYTES, 0, 0);
	selector = ALLOW;
	if (r == 0)
		r = arm();
	selector = r == 0 ? BLOCK : ALLOW;
	return r;
}

void ph_trap_stop(void)
{
	selector = ALLOW;
}

/* The stub of a place, taken now if it has none; NULL when all are taken. */
static struct ph_stub *late_stub(uint64_t resume)
{
	uint32_t first = (uint32_t)((resume * 0x9e3779b97f4a7c15ull) >> (64 - LATE_BITS));

	for (uint32_t i = 0; i < LATE; i++) {
		uint32_t n = (first + i) % LATE;
		_Atomic uint64_t *slot = &ph_late_resume[n * WORDS_APART];
		uint64_t free = 0;

		if (atomic_load(slot) == resume || atomic_compare_exchange_strong(slot, &free, resume) || free == resume)
			return &ph_late[n];
	}
	return NULL;
}

/* A call that can't be followed: the rules leave, and it is made as it stands. */
static void let_go(uint64_t *context)
{
	if (ph_engine.rules)
		ph_disarm(PH_WHY_UNHANDLED);
	ph_trap_stop();
	context[UC_RIP] -= 2;
}

bool ph_trap_caught(const struct ph_siginfo *info, uint64_t *context)
{
	struct ph_stub *stub;

	if (!ph_engine.trapping || info->code != SYS_USER_DISPATCH || theirs)
		return false;
	stub = selector == BLOCK && info->machine == MACHINE ? late_stub(context[UC_RIP]) : NULL;
	if (stub)
		context[UC_RIP] = (uint64_t)stub->code;
	else
		let_go(context);
	return true;
}

/* --- calls that concern the trap itself ------------------------------------------------------------------------ */

/* The program's own handler returns: the mask that comes back lies above the frame that entry.S made. */
static void clean_sigreturn(struct ph_frame *f)
{
	uint64_t *mask = (uint64_t *)((uint64_t)f + PH_FRAME_BELOW) + UC_MASK, value;

	if (ph_copy_in(&value, mask, sizeof(value)) < 0 || !(value & PH_SIGSYS_BIT))
		return;
	value &= ~PH_SIGSYS_BIT;
	ph_copy_out(mask, &value, sizeof(value));
}

/* The call with argument `arg`, which points to `bytes` with a mask at `at` in them, without SIGSYS in it. */
static void without_sigsys(struct ph_frame *f, unsigned arg, uint64_t at, uint64_t bytes)
{
	uint64_t copy[4];
	int64_t a[6];

	if (!f->a[arg] || bytes > sizeof(copy) || ph_copy_in(copy, (const void *)f->a[arg], bytes) < 0 ||
	    !(copy[at / 8] & PH_SIGSYS_BIT))
		return;
	copy[at / 8] &= ~PH_SIGSYS_BIT;
	for (unsigned i = 0; i < 6; i++)
		a[i] = f->a[i];
	a[arg] = (int64_t)copy;
	ph_answered(f, ph_syscall((int32_t)f->rax, a[0], a[1], a[2], a[3], a[4], a[5]));
}

/* pselect6's last argument points to a pointer to the mask. */
static void pselect_without_sigsys(struct ph_frame *f)
{
	uint64_t pair[2], mask;

	if (!f->a[5] || ph_copy_in(pair, (const void *)f->a[5], sizeof(pair)) < 0 || !pair[0] || pair[1] != MASK_BYTES ||
	    ph_copy_in(&mask, (const void *)pair[0], sizeof(mask)) < 0 || !(mask & PH_SIGSYS_BIT))
		return;
	mask &= ~PH_SIGSYS_BIT;
	pair[0] = (uint64_t)&mask;
	ph_answered(f, ph_syscall(NR_pselect6, f->a[0], f->a[1], f->a[2], f->a[3], f->a[4], (int64_t)pair));
}

/* The program traps its calls itself, in this thread at least. */
static void give_way(void)
{
	if (ph_engine.rules)
		ph_disarm(PH_WHY_UNHANDLED);
	ph_trap_stop();
	theirs = true;
}

/* This thread's tracer would see a signal at every call. */
static void leave_to_tracer(void)
{
	if (ph_engine.rules && !ph_vfork_child())
		ph_disarm(PH_WHY_UNHANDLED);
	ph_syscall(NR_prctl, PR_SET_SYSCALL_USER_DISPATCH, DISPATCH_OFF, 0, 0, 0, 0);
	ph_uncovered(PH_UNCOVERED_SITES, ph_engine.exe);
}

void ph_trap_pass(struct ph_frame *f)
{
	switch ((int32_t)f->rax) {
	case NR_rt_sigreturn:
		clean_sigreturn(f);
		return;
	case NR_rt_sigprocmask:
		if (f->a[0] != SIG_UNBLOCK)
			without_sigsys(f, 1, 0, MASK_BYTES);
		return;
	case NR_rt_sigaction:
		without_sigsys(f, 1, 24, 32);
		return;
	case NR_rt_sigsuspend:
		without_sigsys(f, 0, 0, MASK_BYTES);
		return;
	case NR_ppoll:
		without_sigsys(f, 3, 0, MASK_BYTES);
		return;
	case NR_epoll_pwait:
	case NR_epoll_pwait2:
		without_sigsys(f, 4, 0, MASK_BYTES);
		return;
	case NR_pselect6:
		pselect_without_sigsys(f);
		return;
	case NR_clone:
	case NR_clone3:
	case NR_fork:
	case NR_vfork:
		f->target = (f->target & ~63ull) + (uint64_t)(ph_late_made - (const char *)ph_late);
		return;
	case NR_ptrace:
		if (f->a[0] == PTRACE_TRACEME)
			leave_to_tracer();
		return;
	case NR_prctl:
		if (f->a[0] == PR_SET_SYSCALL_USER_DISPATCH && !ph_vfork_child())
			give_way();
		return;
	default:
		return;
	}
}

/* Behind a call that made a process or a thread, in both: a new one is not trapped yet. On whatever stack it has. */
__attribute__((used)) void ph_trap_made(struct ph_frame *f)
{
	if (f->rax == 0)
		arm();
}

/* The same where the parent has to be told (hook.c: ph_hook_after). */
__attribute__((used)) void ph_trap_forked(struct ph_frame *f)
{
	if (f->rax == 0)
		arm();
	else
		ph_hook_after(f);
}

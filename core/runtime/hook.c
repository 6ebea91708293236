/* Every call that a stub sends to C. */
#include "engine.h"

#include <stdatomic.h>

#include "delay.h"
#include "examined.h"
#include "linux.h"
#include "ring.h"
#include "signals.h"

#define VFORKS 64
#define ANY_PID (-1)
#define THREAD (CLONE_VM | CLONE_FILES | CLONE_SIGHAND | CLONE_SETTLS)

/* Threads of ours that sit in vfork (or posix_spawn) while a child runs in their memory, on their fs base. Such a
 * child's calls belong to another process: no rule sees them. */
struct vforking {
	_Atomic uint64_t self;	/* ph_self of the suspended thread, or 0 */
	_Atomic int64_t pid;
	int32_t nr;		/* of the call, while recording */
};

static struct {
	_Atomic uint32_t n;
	struct vforking vforks[VFORKS];
} *table;		/* wiped in a fork's child, which has none of these threads */

int ph_hook_init(void)
{
	if (!table)		/* it stays when the runtime is taken out of a program, and put in again */
		table = ph_map(4096);
	if (!table)
		return -ENOMEM;
	return (int)ph_syscall(NR_madvise, (int64_t)table, 4096, MADV_WIPEONFORK, 0, 0, 0);
}

bool ph_among_vforks(void)
{
	uint64_t self;

	if (!table || atomic_load_explicit(&table->n, memory_order_acquire) == 0)
		return false;
	self = ph_self();
	for (unsigned i = 0; i < VFORKS; i++) {
		if (atomic_load(&table->vforks[i].self) != self)
			continue;
		/* The thread itself can still be here: in a signal handler before the child is made. */
		int64_t pid = atomic_load(&table->vforks[i].pid);

		return pid == ANY_PID || ph_syscall(NR_getpid, 0, 0, 0, 0, 0, 0) != pid;
	}
	return false;
}

static bool vfork_begin(uint64_t flags)
{
	uint64_t self = ph_self();

	ph_engine.makes_vforks = true;
	for (unsigned i = 0; i < VFORKS; i++) {
		uint64_t free = 0;

		if (!atomic_compare_exchange_strong(&table->vforks[i].self, &free, 1))
			continue;
		/* In a new pid namespace the child's number could be its parent's. */
		atomic_store(&table->vforks[i].pid, flags & CLONE_NEWPID ? ANY_PID : ph_syscall(NR_getpid, 0, 0, 0, 0, 0, 0));
		atomic_store(&table->vforks[i].self, self);
		atomic_fetch_add(&table->n, 1);
		return true;
	}
	return false;
}

bool ph_hook_making(uint64_t flags, int32_t nr)
{
	uint64_t self = ph_self();

	if (!vfork_begin(flags))
		return false;
	for (unsigned i = 0; i < VFORKS; i++)
		if (atomic_load(&table->vforks[i].self) == self)
			table->vforks[i].nr = nr;
	return true;
}

/* The number of the call that this thread made a process by. */
static int32_t vfork_end(void)
{
	uint64_t self = ph_self();

	for (unsigned i = 0; i < VFORKS; i++) {
		if (atomic_load(&table->vforks[i].self) != self)
			continue;
		int32_t nr = table->vforks[i].nr;

		atomic_store(&table->vforks[i].self, 0);
		atomic_fetch_sub(&table->n, 1);
		return nr;
	}
	return -1;
}

bool ph_hooked(int64_t nr)
{
	if (ph_engine.bare)
		return false;
	if (ph_engine.delaying && ph_delays(nr))
		return true;
	if (ph_engine.recording)
		return nr != NR_rt_sigreturn;	/* it needs the stack as it is */
	switch (nr) {
	case NR_execve:
	case NR_execveat:
	case NR_prctl:
	case NR_seccomp:
	case PH_SITE_UNKNOWN:
		return true;
	case NR_clone:
	case NR_fork:
	case NR_vfork:
	case NR_clone3:
	case NR_exit:
	case NR_exit_group:
		return ph_engine.rules;
	case NR_rt_sigaction:
		return ph_engine.faults;
	default:
		return ph_engine.rules && ph_wants(nr);
	}
}

static struct ph_stub *stub_of(const struct ph_frame *f)
{
	return (struct ph_stub *)(f->target & ~63ull);
}

void ph_answered(struct ph_frame *f, int64_t result)
{
	f->rax = result;
	f->target += 2;
}

/* The kernel looks at 32 bits. */
static int32_t number(const struct ph_frame *f)
{
	return (int32_t)f->rax;
}

int64_t ph_clone_flags(const struct ph_frame *f, uint64_t *flags)
{
	switch (number(f)) {
	case NR_fork:
		*flags = 0;
		return 0;
	case NR_vfork:
		*flags = CLONE_VM | CLONE_VFORK;
		return 0;
	case NR_clone:
		*flags = (uint64_t)f->a[0];
		return 0;
	default:	/* clone3: the first field of struct clone_args */
		return ph_copy_in(flags, (const void *)f->a[0], sizeof(*flags));
	}
}

static void hand_over_passed(void)
{
	uint64_t passed = ph_engine.passed;

	ph_engine.passed = 0;
	if (passed)
		__atomic_fetch_add(&ph_engine.control->calls_passed, passed, __ATOMIC_RELAXED);
}

/* A call that makes a process or a thread: the stub itself makes it, since a child on a new stack can't return
 * through ours. A child with copies of the descriptors needs ph_fork_begin and ph_fork_end around it. */
static void make_process(struct ph_frame *f)
{
	uint64_t flags;
	const struct ph_stub *stub = stub_of(f);

	if (ph_clone_flags(f, &flags) < 0)
		return;		/* the kernel says EFAULT */
	if ((flags & THREAD) == THREAD && !(flags & CLONE_VFORK)) {
		ph_thread_begin();
		return;
	}
	if (flags & (CLONE_FS | CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID))
		ph_examined_end();	/* it moves us too, or names and processes are others to it */
	if (!stub->fork_at || (flags & (CLONE_FILES | CLONE_SIGHAND)) || ((flags & CLONE_VM) && !(flags & CLONE_VFORK))) {
		/* A process that shares our descriptors, our signals' actions or our memory, and runs beside us. */
		ph_disarm(PH_WHY_SHARED);
		return;
	}
	hand_over_passed();
	ph_fork_begin();
	if ((flags & CLONE_VM) && !vfork_begin(flags)) {
		ph_disarm(PH_WHY_FULL);
		ph_fork_end();
		return;
	}
	f->target = (uint64_t)stub->code + stub->fork_at;
}

/* In the parent of a process that was made, or could not be made; f->rax is the result. */
__attribute__((used)) void ph_hook_after(struct ph_frame *f)
{
	int32_t nr = -1;

	if (atomic_load(&table->n))
		nr = vfork_end();
	if (ph_engine.recording)
		ph_ring_made(f, nr);
	else
		ph_fork_end();
}

/* Whether this call can bring a seccomp filter into force. Without one in readable memory it only asks whether there could
 * be any, as browsers and man do before they start what they will shut in. Where no rule acts nobody catches faults. */
static bool shuts_in(const struct ph_frame *f)
{
	const bool is_prctl = number(f) == NR_prctl;
	const uint64_t mode = is_prctl ? (uint64_t)f->a[1] : (uint32_t)f->a[0];
	char filter[SOCK_FPROG_BYTES];

	if (is_prctl && (int32_t)f->a[0] != PR_SET_SECCOMP)
		return false;
	if (mode == (is_prctl ? SECCOMP_MODE_FILTER : SECCOMP_SET_MODE_FILTER))
		return ph_engine.faults ? ph_copy_in(filter, (const void *)f->a[2], sizeof(filter)) == 0 : f->a[2] != 0;
	return mode == (is_prctl ? SECCOMP_MODE_STRICT : SECCOMP_SET_MODE_STRICT);
}

/* Before the program shuts itself in: what the filter allows is made for its calls, not for ours. */
static void enter_sandbox(bool vfork_child)
{
	if (vfork_child || ph_engine.sandboxed)
		return;		/* a vfork child's memory is its parent's, which is not shut in */
	if (ph_engine.rules)
		ph_disarm(PH_WHY_UNHANDLED);
	if (ph_engine.trapping)
		ph_trap_stop();
	ph_engine.rules = false;
	ph_engine.sandboxed = true;
	ph_signals_unwrap();
	ph_uncovered(PH_UNCOVERED_SANDBOX, ph_engine.exe);
}

/* A file that comes as code may make calls of its own, which could find something pending. */
static bool code_comes(const struct ph_frame *f)
{
	return number(f) == NR_mmap && ph_engine.rules && !ph_engine.trapping && (f->a[2] & PROT_EXEC) &&
	       !(f->a[3] & MAP_ANONYMOUS) && (int32_t)f->a[4] >= 0;
}

static bool dispatched(struct ph_frame *f)
{
	struct ph_call call = { .nr = number(f) };

	for (int i = 0; i < 6; i++)
		call.a[i] = f->a[i];
	if (ph_dispatch(&call) != PH_ANSWERED)
		return false;
	ph_answered(f, call.ret);
	return true;
}

static void decide(struct ph_frame *f)
{
	bool vfork_child = ph_vfork_child();
	char own[32];

	switch (number(f)) {
	case NR_execve:
	case NR_execveat:
		if (ph_engine.sandboxed)
			return;
		own[0] = 0;
		if (ph_engine.rules && !vfork_child) {
			ph_settle_everything(PH_WHY_EXEC);
			hand_over_passed();
			ph_own_descriptors(own, sizeof(own));
		}
		ph_answered(f, ph_exec(f, own));
		return;
	case NR_rt_sigaction:
		if (ph_engine.rules && !vfork_child && ph_wants(NR_rt_sigaction) && dispatched(f))
			return;
		if (ph_faults_concern(f->a))
			ph_answered(f, ph_faults_action(f->a, vfork_child));
		return;
	case NR_rt_sigreturn:
		return;
	case NR_prctl:
	case NR_seccomp:
		if (shuts_in(f))
			enter_sandbox(vfork_child);
		break;
	default:
		break;
	}
	if (vfork_child || !(ph_engine.rules || ph_engine.trapping))
		return;
	switch (number(f)) {
	case NR_clone:
	case NR_fork:
	case NR_vfork:
	case NR_clone3:
		make_process(f);
		return;
	case NR_exit_group:
		hand_over_passed();
		break;
	default:
		break;
	}
	if (dispatched(f))
		return;
	if (code_comes(f))
		ph_late_map(f);
	else
		ph_engine.passed++;
}

static __attribute__((noinline)) void decide_or_pass(struct ph_frame *f)
{
	uint64_t pass = f->target;

	decide(f);
	if (ph_engine.trapping && f->target == pass)
		ph_trap_pass(f);
}

/* Not part of ph_hook, so that a call which passes saves few registers. */
PH_HOT static __attribute__((noinline)) void answer_or_decide(struct ph_frame *f)
{
	int64_t ret;

	/* Below a filter the clock need not be allowed. */
	if (__builtin_expect(ph_engine.delaying, 0) && !ph_engine.sandboxed)
		ph_delay(number(f));
	if (ph_engine.rules && !ph_vfork_child() && ph_answer((const struct ph_call *)f, &ret))
		ph_answered(f, ret);
	else
		decide_or_pass(f);
}

PH_HOT __attribute__((used)) void ph_hook(struct ph_frame *f)
{
	if (!ph_engine.rules || ph_engine.trapping || !ph_passes((const struct ph_call *)f))
		answer_or_decide(f);
	else
		ph_engine.passed++;
}

uint64_t ph_self(void)
{
	uint64_t base = 0;

	if (__builtin_expect(ph_engine.fsgsbase, 1))
		__asm__ volatile("rdfsbase %0" : "=r"(base));
	else
		ph_syscall(NR_arch_prctl, ARCH_GET_FS, (int64_t)&base, 0, 0, 0, 0);
	return base & ~15ull ? base & ~15ull : 16;
}

void *ph_map(size_t bytes)
{
	int64_t at = ph_syscall(NR_mmap, 0, (int64_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at < 0 && at > -4096 ? NULL : (void *)at;
}

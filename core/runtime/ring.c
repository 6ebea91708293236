/* Every call of this process into the shared ring: no lock, nothing allocated after the start, nothing waited for. */
#include "ring.h"

#include <stdatomic.h>

#include "engine.h"
#include "linux.h"

#define FLAG_NO_RETURN 4	/* enum ph_call_flags, which abi_record.h has */
#define FLAG_NO_ARGS 8
#define PATH_MAX 4096
#define SLOT_BYTES 120u
#define THREADS 4096u
#define TID_BITS 22
#define PAGE 4096u
#define CHUNK 64u
#define ARGV_MAX 32768u
#define PR_SET_TSC 26

void *memcpy(void *restrict to, const void *restrict from, size_t n);

static struct ph_shared_ring *ring;
static struct ph_lane *lanes;
static struct ph_slot *slots;
static uint8_t path_arg[512], path2_arg[512];

/* Numbers of this process and its threads, so that they need not be asked for. Wiped in a fork's child. A thread's word
 * is its ph_self, shifted, and its number, so it is right or not there. */
static struct numbers {
	_Atomic int32_t pid;
	_Atomic uint64_t threads[THREADS];
} *numbers;
static bool ask_always;		/* threads here may share one ph_self */

struct record {
	uint64_t enter, exit;
	int64_t ret;
	uint64_t ip;
	int32_t nr, tid, pid;
	uint8_t kind, flags;
	const int64_t *args;
	const char *bytes[3];
	uint32_t lens[3];
};

static uint64_t ticks(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static uint64_t ticks_and_cpu(uint32_t *cpu)
{
	uint32_t low, high;

	__asm__ volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(*cpu) : : "memory");
	*cpu &= 0xfff;
	return (uint64_t)high << 32 | low;
}

bool ph_ring_init(void *file, uint64_t bytes)
{
	struct ph_shared_ring *head = file;
	uint64_t lanes_bytes;
	unsigned nr;
	uint8_t path, path2;

	if (bytes < PAGE || head->magic != PH_SHARED_RING_MAGIC || head->version != PH_SHARED_RING_VERSION ||
	    head->lanes == 0 || head->lanes > 4096 || head->slots == 0 || (head->slots & (head->slots - 1)))
		return false;
	lanes_bytes = (head->lanes * sizeof(struct ph_lane) + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	if (head->slots > (bytes >> 7) || bytes != PAGE + lanes_bytes + head->lanes * head->slots * sizeof(struct ph_slot))
		return false;
	numbers = ph_map(sizeof(*numbers));
	if (!numbers || ph_syscall(NR_madvise, (int64_t)numbers, sizeof(*numbers), MADV_WIPEONFORK, 0, 0, 0) < 0)
		return false;
	for (unsigned i = 0; ph_ring_paths(i, &nr, &path, &path2); i++)
		if (nr < 512) {
			path_arg[nr] = path;
			path2_arg[nr] = path2;
		}
	lanes = (struct ph_lane *)((char *)file + PAGE);
	slots = (struct ph_slot *)((char *)file + PAGE + lanes_bytes);
	ring = head;
	return true;
}

void ph_ring_stop(void)
{
	ring = NULL;
}

static void whose(struct record *r, bool vfork_child)
{
	uint64_t self = ph_self() >> 6 << TID_BITS, word;
	_Atomic uint64_t *place = &numbers->threads[(self >> TID_BITS) * 0x9e3779b97f4a7c15ull >> 52];

	if (__builtin_expect(vfork_child || ask_always, 0)) {
		r->pid = (int32_t)ph_syscall(NR_getpid, 0, 0, 0, 0, 0, 0);
		r->tid = (int32_t)ph_syscall(NR_gettid, 0, 0, 0, 0, 0, 0);
		return;
	}
	r->pid = atomic_load_explicit(&numbers->pid, memory_order_relaxed);
	if (__builtin_expect(!r->pid, 0)) {
		r->pid = (int32_t)ph_syscall(NR_getpid, 0, 0, 0, 0, 0, 0);
		atomic_store_explicit(&numbers->pid, r->pid, memory_order_relaxed);
	}
	word = atomic_load_explicit(place, memory_order_relaxed);
	r->tid = (int32_t)(word & ((1u << TID_BITS) - 1));
	if (__builtin_expect((word ^ self) >> TID_BITS || !r->tid, 0)) {
		r->tid = (int32_t)ph_syscall(NR_gettid, 0, 0, 0, 0, 0, 0);
		atomic_store_explicit(place, self | (uint32_t)r->tid, memory_order_relaxed);
	}
}

/* A thread ends: the next one may have its ph_self. */
static void forget_thread(void)
{
	uint64_t self = ph_self() >> 6;

	atomic_store_explicit(&numbers->threads[self * 0x9e3779b97f4a7c15ull >> 52], 0, memory_order_relaxed);
}

static bool take(struct ph_lane *lane, uint64_t n, uint64_t *place)
{
	uint64_t head = __atomic_load_n(&lane->head, __ATOMIC_RELAXED);

	do {
		if (head + n - __atomic_load_n(&lane->tail, __ATOMIC_ACQUIRE) > ring->slots) {
			__atomic_fetch_add(&lane->lost, 1, __ATOMIC_RELAXED);
			return false;
		}
	} while (!__atomic_compare_exchange_n(&lane->head, &head, head + n, true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	*place = head;
	return true;
}

static struct ph_slot *slot_at(uint32_t lane, uint64_t place)
{
	return &slots[lane * ring->slots + (place & (ring->slots - 1))];
}

/* The record's bytes, out of the program's memory into the slots from `place` on. */
static void put_bytes(const struct record *r, uint32_t lane, uint64_t place)
{
	struct ph_slot_bytes *to = (struct ph_slot_bytes *)slot_at(lane, place);
	uint32_t used = 0;

	for (unsigned i = 0; i < 3; i++) {
		for (uint32_t at = 0; at < r->lens[i];) {
			uint32_t n = SLOT_BYTES - used;

			if (!n) {
				__atomic_store_n(&to->ready, ++place | PH_RING_CONTINUED, __ATOMIC_RELEASE);
				to = (struct ph_slot_bytes *)slot_at(lane, place);
				used = 0;
				continue;
			}
			n = r->lens[i] - at < n ? r->lens[i] - at : n;
			ph_copy_in(to->bytes + used, r->bytes[i] + at, n);
			at += n;
			used += n;
		}
	}
	__atomic_store_n(&to->ready, (place + 1) | PH_RING_CONTINUED, __ATOMIC_RELEASE);
}

static void write_record(struct record *r, uint32_t cpu)
{
	uint32_t bytes = r->lens[0] + r->lens[1] + r->lens[2];
	uint64_t n = 1 + (bytes + SLOT_BYTES - 1) / SLOT_BYTES, place;
	uint32_t at = cpu < ring->lanes ? cpu : cpu % ring->lanes;
	struct ph_lane *lane = &lanes[at];
	struct ph_slot *s;

	if (!__atomic_load_n(&ring->on, __ATOMIC_RELAXED) || !take(lane, n, &place))
		return;
	s = slot_at(at, place);
	__atomic_store_n(&s->claim, place << 32 | n << TID_BITS | (uint32_t)r->pid, __ATOMIC_RELAXED);
	s->lost = __atomic_load_n(&lane->lost, __ATOMIC_RELAXED);
	s->enter = r->enter;
	s->exit = r->exit;
	s->ret = r->ret;
	s->ip = r->ip;
	s->nr = r->nr;
	s->tid = r->tid;
	s->pid = r->pid;
	s->path_len = (uint16_t)r->lens[0];
	s->path2_len = (uint16_t)r->lens[1];
	s->kind = r->kind;
	s->flags = r->flags;
	for (int i = 0; i < 6; i++)
		s->args[i] = r->args[i];
	if (bytes)
		put_bytes(r, at, place + 1);
	__atomic_store_n(&s->ready, place + 1, __ATOMIC_RELEASE);
}

/* How long the string is, with its NUL; 0: there is none that can be read. */
static uint32_t length_of(const char *user)
{
	char chunk[CHUNK];
	uint32_t n = 0;

	while (user && n < PATH_MAX) {
		uint32_t step = CHUNK - ((uint64_t)(user + n) & (CHUNK - 1));	/* never across a page */

		if (ph_copy_in(chunk, user + n, step) < 0)
			return 0;
		for (uint32_t i = 0; i < step; i++)
			if (!chunk[i])
				return n + i + 1;
		n += step;
	}
	return 0;
}

static void add_path(struct record *r, unsigned i, uint8_t arg, uint32_t cpu)
{
	if (!arg)
		return;
	r->bytes[i] = (const char *)r->args[arg - 1];
	r->lens[i] = length_of(r->bytes[i]);
	if (!r->lens[i] && r->ret >= 0)
		__atomic_fetch_add(&lanes[cpu % ring->lanes].unread, 1, __ATOMIC_RELAXED);
}

static uint64_t made_at(const struct ph_frame *f)
{
	return ((const struct ph_stub *)(f->target & ~63ull))->resume;
}

static void record_call(const struct ph_frame *f, int64_t nr, uint64_t enter, int64_t ret, uint8_t flags)
{
	struct record r = { .enter = enter, .ret = ret, .ip = made_at(f), .nr = (int32_t)nr, .kind = PH_SLOT_CALL,
			    .flags = flags, .args = f->a };
	uint32_t cpu;

	r.exit = ticks_and_cpu(&cpu);
	whose(&r, ph_vfork_child());
	if ((uint64_t)nr < 512 && path_arg[nr]) {
		add_path(&r, 0, path_arg[nr], cpu);
		add_path(&r, 1, path2_arg[nr], cpu);
	}
	write_record(&r, cpu);
}

void ph_ring_start(const char *as_passed, int argc, char **argv)
{
	char exe[512];
	int64_t args[6] = { 0 }, n;
	struct record r = { .nr = NR_execve, .kind = PH_SLOT_START, .flags = FLAG_NO_ARGS, .args = args };
	uint32_t cpu;

	if (!ring)
		return;
	n = ph_syscall(NR_readlinkat, AT_FDCWD, (int64_t) "/proc/self/exe", (int64_t)exe, sizeof(exe) - 1, 0, 0);
	exe[n > 0 ? n : 0] = 0;
	r.bytes[0] = as_passed;
	r.lens[0] = length_of(as_passed);
	r.bytes[1] = exe;
	r.lens[1] = n > 0 ? (uint32_t)n + 1 : 0;
	if (argc > 0 && argv[argc - 1] > argv[0]) {	/* they lie one behind the other */
		uint64_t bytes = (uint64_t)(argv[argc - 1] - argv[0]) + ph_strlen(argv[argc - 1]) + 1;

		r.bytes[2] = argv[0];
		r.lens[2] = (uint32_t)(bytes < ARGV_MAX ? bytes : ARGV_MAX);
	} else if (argc == 1) {
		r.bytes[2] = argv[0];
		r.lens[2] = (uint32_t)ph_strlen(argv[0]) + 1;
	}
	args[0] = r.lens[2];
	args[1] = ph_syscall(NR_getppid, 0, 0, 0, 0, 0, 0);
	whose(&r, false);
	r.enter = 0;
	r.exit = ticks_and_cpu(&cpu);
	write_record(&r, cpu);
}

void ph_ring_made(const struct ph_frame *f, int64_t nr)
{
	if (ring)
		record_call(f, nr, 0, f->rax, 0);
}

/* Calls that the stub itself has to make, since a child on another stack can't come back through ours. */
static void make_in_stub(struct ph_frame *f, uint64_t flags)
{
	const struct ph_stub *stub = (const struct ph_stub *)(f->target & ~63ull);

	if (!(flags & CLONE_SETTLS) && !(flags & CLONE_VFORK))
		ask_always = true;
	if (stub->fork_at && ph_hook_making(flags, (int32_t)f->rax))
		f->target = (uint64_t)stub->code + stub->fork_at;
	else	/* not seen, and counted */
		__atomic_fetch_add(&lanes[0].lost, 1, __ATOMIC_RELAXED);
}

static bool has_new_stack(const struct ph_frame *f)
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack;
	} args;

	if ((int32_t)f->rax == NR_clone3)
		return ph_copy_in(&args, (const void *)f->a[0], sizeof(args)) < 0 || args.stack;
	return (int32_t)f->rax == NR_clone && f->a[1];
}

void ph_ring_call(struct ph_frame *f)
{
	int64_t nr = (int32_t)f->rax, ret;
	uint64_t enter, flags;

	if (!ring) {
		ph_hook(f);
		return;
	}
	enter = ticks();
	switch (nr) {
	case NR_rt_sigreturn:
		record_call(f, -1, 0, 0, FLAG_NO_ARGS);
		return;
	case NR_exit:
	case NR_exit_group:
		record_call(f, nr, 0, 0, FLAG_NO_RETURN);
		if (!ph_vfork_child())
			forget_thread();
		return;
	case NR_fork:
	case NR_vfork:
	case NR_clone:
	case NR_clone3:
		if (ph_clone_flags(f, &flags) == 0 && ((flags & CLONE_VM) || has_new_stack(f))) {
			make_in_stub(f, flags);
			return;
		}
		break;
	case NR_execve:
	case NR_execveat:
	case NR_rt_sigaction:
	case NR_prctl:
	case NR_seccomp: {
		uint64_t before = f->target;

		if (nr == NR_prctl && f->a[0] == PR_SET_TSC)
			ph_ring_stop();	/* the clock may go away */
		ph_hook(f);
		if (ph_engine.sandboxed)
			ph_ring_stop();	/* what it shuts itself in by need not allow the calls that a record may need */
		if (f->target != before) {
			if (ring)
				record_call(f, nr, enter, f->rax, 0);
			return;
		}
		if (!ring)
			return;
		break;
	}
	default:
		break;
	}
	ret = ph_syscall(nr, f->a[0], f->a[1], f->a[2], f->a[3], f->a[4], f->a[5]);
	if (!((nr == NR_fork || nr == NR_clone || nr == NR_clone3) && ret == 0))	/* the child's is the parent's */
		record_call(f, nr, enter, ret, 0);
	f->rax = ret;
	f->target += 2;
}

/* For the reader, which is Python: the counter's value and CLOCK_MONOTONIC in the same moment, as near as can be. */
__attribute__((visibility("default"))) void ph_ring_clock(uint64_t out[2])
{
	uint64_t shortest = ~0ull;

	for (int i = 0; i < 10; i++) {
		int64_t time[2];
		uint64_t before = ticks(), after;

		ph_syscall(NR_clock_gettime, 1, (int64_t)time, 0, 0, 0, 0);
		after = ticks();
		if (after - before >= shortest)
			continue;
		shortest = after - before;
		out[0] = before + (after - before) / 2;
		out[1] = (uint64_t)time[0] * 1000000000u + (uint64_t)time[1];
	}
}

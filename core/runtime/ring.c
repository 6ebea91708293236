/* Every call of this process into the shared ring: no lock, nothing allocated after the start, nothing waited for. */
#include "ring.h"

#include <stdatomic.h>

#include "engine.h"
#include "linux.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define PATH_MAX 4096
#define THREADS 4096u
#define TID_BITS PH_LANE_PID_BITS
#define PAGE 4096u
#define CHUNK 64u
#define ARGV_MAX 32768u
#define PR_SET_TSC 26
#define NR_NONE 0x7ffff		/* a number that no call has, and that no record could tell from others */

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memset(void *to, int byte, size_t n);

static struct ph_shared_ring *ring;
static struct ph_lane *lanes;
static uint64_t *words;
static uint64_t lane_words, lane_mask;
static uint32_t n_lanes;
static uint16_t shapes[PH_RING_SHAPES];

/* Numbers of this process and its threads, so that they need not be asked for. Wiped in a fork's child. A thread's word
 * is its ph_self, shifted, and its number, so it is right or not there. */
static struct numbers {
	_Atomic int32_t pid;
	_Atomic uint64_t threads[THREADS];
} *numbers;
static bool ask_always;		/* threads here may share one ph_self */

/* What a record has besides its fixed words. */
struct record {
	uint64_t word;		/* flags and arguments of the first word */
	uint64_t enter;		/* 0: not looked at */
	int64_t ret, nr;
	uint64_t ip;
	const int64_t *args;
	const char *bytes[3];
	uint32_t lens[3];
};

static inline uint64_t ticks(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static inline uint64_t ticks_and_cpu(uint32_t *cpu)
{
	uint32_t low, high;

	__asm__ volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(*cpu) : : "memory");
	*cpu &= 0xfff;
	return (uint64_t)high << 32 | low;
}

bool ph_ring_init(void *file, uint64_t bytes)
{
	static const int special[] = { NR_rt_sigreturn, NR_exit, NR_exit_group, NR_fork, NR_vfork, NR_clone, NR_clone3, NR_execve,
				       NR_execveat, NR_rt_sigaction, NR_prctl, NR_seccomp };
	struct ph_shared_ring *head = file;
	uint64_t lanes_bytes;

	if (bytes < PAGE || head->magic != PH_SHARED_RING_MAGIC || head->version != PH_SHARED_RING_VERSION ||
	    head->lanes == 0 || head->lanes > 4096 || head->words == 0 || (head->words & (head->words - 1)))
		return false;
	lanes_bytes = (head->lanes * sizeof(struct ph_lane) + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	if (head->words > bytes >> 3 || bytes != PAGE + lanes_bytes + head->lanes * (head->words + PH_LANE_SLACK_WORDS) * 8)
		return false;
	numbers = ph_map(sizeof(*numbers));
	if (!numbers || ph_syscall(NR_madvise, (int64_t)numbers, sizeof(*numbers), MADV_WIPEONFORK, 0, 0, 0) < 0)
		return false;
	ph_ring_shapes(shapes);
	for (unsigned i = 0; i < sizeof(special) / sizeof(special[0]); i++)
		shapes[special[i]] |= PH_RING_SPECIAL;
	lanes = (struct ph_lane *)((char *)file + PAGE);
	words = (uint64_t *)((char *)file + PAGE + lanes_bytes);
	n_lanes = head->lanes;
	lane_mask = head->words - 1;
	lane_words = head->words + PH_LANE_SLACK_WORDS;
	ring = head;
	return true;
}

void ph_ring_stop(void)
{
	ring = NULL;
}

/* As ph_self(), without a call. */
static inline uint64_t self_of(void)
{
	uint64_t base;

	if (__builtin_expect(!ph_engine.fsgsbase, 0))
		return ph_self();
	__asm__ volatile("rdfsbase %0" : "=r"(base));
	return base & ~15ull ? base & ~15ull : 16;
}

static __attribute__((noinline)) uint64_t ask_whose(bool keep)
{
	uint64_t self = ph_self() >> 6 << TID_BITS;
	uint64_t pid = (uint64_t)ph_syscall(NR_getpid, 0, 0, 0, 0, 0, 0), tid = (uint64_t)ph_syscall(NR_gettid, 0, 0, 0, 0, 0, 0);

	if (keep) {
		atomic_store_explicit(&numbers->pid, (int32_t)pid, memory_order_relaxed);
		atomic_store_explicit(&numbers->threads[(self >> TID_BITS) * 0x9e3779b97f4a7c15ull >> 52], self | tid,
				      memory_order_relaxed);
	}
	return pid | tid << TID_BITS;
}

/* Process and thread, as a record has them. */
static ALWAYS_INLINE uint64_t whose(void)
{
	uint64_t self = self_of() >> 6 << TID_BITS, word, tid, pid;

	if (__builtin_expect(ph_vfork_child() || ask_always, 0))
		return ask_whose(false);
	pid = (uint32_t)atomic_load_explicit(&numbers->pid, memory_order_relaxed);
	word = atomic_load_explicit(&numbers->threads[(self >> TID_BITS) * 0x9e3779b97f4a7c15ull >> 52], memory_order_relaxed);
	tid = word & ((1u << TID_BITS) - 1);
	if (__builtin_expect((word ^ self) >> TID_BITS || !tid || !pid, 0))
		return ask_whose(true);
	return pid | tid << TID_BITS;
}

/* A thread ends: the next one may have its ph_self. */
static void forget_thread(void)
{
	uint64_t self = ph_self() >> 6;

	atomic_store_explicit(&numbers->threads[self * 0x9e3779b97f4a7c15ull >> 52], 0, memory_order_relaxed);
}

static ALWAYS_INLINE uint64_t *take(uint32_t cpu, uint64_t n, uint64_t *place, struct ph_lane **out)
{
	uint32_t at = __builtin_expect(cpu < n_lanes, 1) ? cpu : cpu % n_lanes;
	struct ph_lane *lane = &lanes[at];
	uint64_t head = __atomic_load_n(&lane->head, __ATOMIC_RELAXED), next, from, tail;
	bool again;

	*out = lane;
	do {
		from = PH_LANE_PLACE(head);
		tail = __atomic_load_n(&lane->tail, __ATOMIC_ACQUIRE);
		next = head + n;
		again = from == tail && (from & lane_mask) > PH_LANE_FAR_WORDS;
		if (__builtin_expect(again, 0)) {
			from = (from | lane_mask) + 1;
			next = (head & ~PH_LANE_PLACE(~0ull)) + (1ull << PH_LANE_PLACE_BITS) + from + n;
		} else if (__builtin_expect(from + n - tail > lane_mask + 1, 0)) {
			__atomic_fetch_add(&lane->lost, 1, __ATOMIC_RELAXED);
			return NULL;
		}
	} while (!__atomic_compare_exchange_n(&lane->head, &head, next, true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	/* The reader's word, but it has nothing to say until it looks again; until then there is room as in an empty lane. */
	if (__builtin_expect(again, 0))
		__atomic_store_n(&lane->tail, from, __ATOMIC_RELEASE);
	*place = from;
	return words + at * lane_words + (from & lane_mask);
}

/* The record's bytes, out of the program's memory: what can't be read stays what it was, and is not told. */
static __attribute__((noinline)) void put_bytes(const struct record *r, uint64_t *at)
{
	struct ph_lane_lengths lengths = { (uint16_t)r->lens[0], (uint16_t)r->lens[1], r->lens[2] };
	char *to = (char *)(at + 1);

	for (unsigned i = 0; i < 3; i++) {
		if (r->lens[i] && ph_copy_in(to, r->bytes[i], r->lens[i]) < 0)
			memset(to, 0, r->lens[i]);
		to += r->lens[i];
	}
	memcpy(at, &lengths, sizeof(lengths));
}

static ALWAYS_INLINE void write_record(const struct record *r, uint64_t exit, uint32_t cpu, uint64_t who)
{
	uint64_t bytes = r->word & PH_LANE_BYTES ? r->lens[0] + r->lens[1] + r->lens[2] : 0, place, *at;
	uint64_t took = r->enter ? exit - r->enter : 0, word = r->word | (took >> 32 ? PH_LANE_LONG : 0);
	unsigned args = PH_LANE_ARGS(word);
	uint64_t n = PH_LANE_FIXED_WORDS + args + !!(took >> 32) + (word & PH_LANE_BYTES ? 1 + (bytes + 7) / 8 : 0);
	/* Another thread may have stopped it while the call was made. */
	const struct ph_shared_ring *head = __atomic_load_n(&ring, __ATOMIC_RELAXED);
	struct ph_lane_record *to;
	struct ph_lane *lane;

	if (__builtin_expect(!head || !__atomic_load_n(&head->on, __ATOMIC_RELAXED), 0))
		return;
	at = take(cpu, n, &place, &lane);
	if (!at)
		return;
	to = (struct ph_lane_record *)at;
	word |= n | PH_LANE_TAG(place);
	/* Whose it is before that it is someone's: the reader looks whether they still live. */
	__atomic_store_n(&to->who, who | (uint64_t)r->nr << (2 * TID_BITS), __ATOMIC_RELAXED);
	__atomic_store_n(&to->word, word, __ATOMIC_RELEASE);
	to->exit = exit;
	to->took = (uint32_t)took;
	to->lost = (uint32_t)__atomic_load_n(&lane->lost, __ATOMIC_RELAXED);
	to->ret = r->ret;
	to->ip = r->ip;
	at += PH_LANE_FIXED_WORDS;
	if (__builtin_expect(took >> 32, 0)) {
		to->took = 0;
		*at++ = r->enter;
	}
	for (unsigned i = 0; i < args; i++)
		at[i] = (uint64_t)r->args[i];
	if (word & PH_LANE_BYTES)
		put_bytes(r, at + args);
	__atomic_store_n(&to->word, word | PH_LANE_READY, __ATOMIC_RELEASE);
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

static void add_path(struct record *r, unsigned i, unsigned arg, uint32_t cpu)
{
	if (!arg)
		return;
	r->bytes[i] = (const char *)r->args[arg - 1];
	r->lens[i] = length_of(r->bytes[i]);
	if (!r->lens[i] && r->ret >= 0)
		__atomic_fetch_add(&lanes[cpu % n_lanes].unread, 1, __ATOMIC_RELAXED);
}

static inline uint64_t made_at(const struct ph_frame *f)
{
	return ((const struct ph_stub *)(f->target & ~63ull))->resume;
}

static inline unsigned shape_of(int64_t nr)
{
	return (uint64_t)nr < PH_RING_SHAPES ? shapes[nr] : 6 | PH_RING_TIMED;
}

static ALWAYS_INLINE struct record record_of(const struct ph_frame *f, int64_t nr, unsigned args, uint64_t enter, int64_t ret,
					     uint64_t word)
{
	return (struct record){ .word = word | (uint64_t)args << PH_LANE_ARGS_AT, .enter = enter, .ret = ret, .ip = made_at(f),
				.nr = nr < -1 || nr > NR_NONE ? NR_NONE : nr, .args = f->a };
}

static __attribute__((noinline)) void record_call(const struct ph_frame *f, int64_t nr, unsigned shape, uint64_t enter,
						  int64_t ret, uint64_t word)
{
	unsigned args = word & PH_LANE_NO_ARGS ? 0 : shape & PH_RING_ARGS;
	struct record r = record_of(f, nr, args, enter, ret, word);
	uint32_t cpu;
	uint64_t exit = ticks_and_cpu(&cpu);

	if (PH_RING_ARG(shape, PH_RING_PATH_AT) && args) {
		add_path(&r, 0, PH_RING_ARG(shape, PH_RING_PATH_AT), cpu);
		add_path(&r, 1, PH_RING_ARG(shape, PH_RING_PATH2_AT), cpu);
		r.word |= PH_LANE_BYTES;
	}
	write_record(&r, exit, cpu, whose());
}

/* Most calls: neither paths nor anything special. */
static ALWAYS_INLINE void record_plain(const struct ph_frame *f, int64_t nr, unsigned shape, uint64_t enter, int64_t ret)
{
	struct record r = record_of(f, nr, shape & PH_RING_ARGS, enter, ret, 0);
	uint32_t cpu;
	uint64_t exit = ticks_and_cpu(&cpu);

	write_record(&r, exit, cpu, whose());
}

void ph_ring_start(const char *as_passed, int argc, char **argv)
{
	char exe[512];
	int64_t args[2], n;
	struct record r = { .word = PH_LANE_START | PH_LANE_NO_ARGS | PH_LANE_BYTES | 2ull << PH_LANE_ARGS_AT, .nr = NR_execve,
			    .args = args };
	uint32_t cpu;
	uint64_t exit;

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
	exit = ticks_and_cpu(&cpu);
	write_record(&r, exit, cpu, whose());
}

void ph_ring_made(const struct ph_frame *f, int64_t nr)
{
	if (ring)
		record_call(f, nr, shape_of(nr), 0, f->rax, 0);
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

static bool makes_process(int64_t nr)
{
	return nr == NR_fork || nr == NR_vfork || nr == NR_clone || nr == NR_clone3;
}

/* What needs more than to be made; whether it is done. */
static __attribute__((noinline)) bool special_call(struct ph_frame *f, int64_t nr, unsigned shape, uint64_t enter)
{
	uint64_t flags, before = f->target;

	switch (nr) {
	case NR_rt_sigreturn:
		record_call(f, -1, shape, 0, 0, PH_LANE_NO_ARGS);
		return true;
	case NR_exit:
	case NR_exit_group:
		record_call(f, nr, shape, 0, 0, PH_LANE_NO_RETURN);
		if (!ph_vfork_child())
			forget_thread();
		return true;
	case NR_fork:
	case NR_vfork:
	case NR_clone:
	case NR_clone3:
		if (ph_clone_flags(f, &flags) < 0 || (!(flags & CLONE_VM) && !has_new_stack(f)))
			return false;
		make_in_stub(f, flags);
		return true;
	default:	/* exec, signal handlers, sandboxes: ph_hook sees to them */
		break;
	}
	if (nr == NR_prctl && f->a[0] == PR_SET_TSC)
		ph_ring_stop();	/* the clock may go away */
	ph_hook(f);
	if (ph_engine.sandboxed)
		ph_ring_stop();	/* what it shuts itself in by need not allow the calls that a record may need */
	if (f->target != before && ring)
		record_call(f, nr, shape, enter, f->rax, 0);
	return f->target != before || !ring;
}

static inline int64_t make(const struct ph_frame *f, int64_t nr)
{
	register int64_t r10 __asm__("r10") = f->a[3], r8 __asm__("r8") = f->a[4], r9 __asm__("r9") = f->a[5];
	int64_t ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"(nr), "D"(f->a[0]), "S"(f->a[1]), "d"(f->a[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

void ph_ring_call(struct ph_frame *f)
{
	int64_t nr = (int32_t)f->rax, ret;
	unsigned shape = shape_of(nr);
	uint64_t enter = 0;

	if (__builtin_expect(!ring, 0)) {
		ph_hook(f);
		return;
	}
	if (shape & PH_RING_TIMED)
		enter = ticks();
	if (__builtin_expect(shape & PH_RING_SPECIAL, 0) && special_call(f, nr, shape, enter))
		return;
	ret = make(f, nr);
	if (!(shape & (PH_RING_SPECIAL | 7u << PH_RING_PATH_AT)))
		record_plain(f, nr, shape, enter, ret);
	else if (ret || !makes_process(nr))	/* a fork's child has the parent's record */
		record_call(f, nr, shape, enter, ret, 0);
	f->rax = ret;
	f->target += 2;
}

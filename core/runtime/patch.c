/* Writing stubs, and jumps to them over system-call instructions: at start, while one thread exists (live.c does it to
 * a program that runs). */
#include "engine.h"

#include "linux.h"

#define PAGE 4096ull
#define SYSCALL_BYTES 2
#define SITES_MAX 4096u
#define STUBS_USUAL 640		/* what libc and ld.so have */
#define NEAR (3 * PAGE)		/* copying a page too many is cheaper than another call */

void *memcpy(void *restrict to, const void *restrict from, size_t n);
int memcmp(const void *a, const void *b, size_t n);

uint32_t ph_n_stubs;
static bool stubs_writable;

struct writer {
	uint8_t *at;
	bool failed;
};

static void put(struct writer *w, const void *bytes, size_t n)
{
	memcpy(w->at, bytes, n);
	w->at += n;
}

static void put_relative(struct writer *w, const void *opcode, size_t n, uint64_t to)
{
	int64_t distance;
	int32_t rel;

	put(w, opcode, n);
	distance = (int64_t)(to - ((uint64_t)w->at + 4));
	rel = (int32_t)distance;
	w->failed = w->failed || rel != distance;
	put(w, &rel, 4);
}

int64_t ph_protect(uint64_t from, uint64_t to, int protection)
{
	from &= ~(PAGE - 1);
	to = (to + PAGE - 1) & ~(PAGE - 1);
	return ph_syscall(NR_mprotect, (int64_t)from, (int64_t)(to - from), protection, 0, 0, 0);
}

/* Makes the pages' own copies at once, which is several times cheaper than by a fault each. A kernel that can't
 * (before 5.14) takes the faults. */
static void populate(uint64_t from, uint64_t to)
{
	from &= ~(PAGE - 1);
	to = (to + PAGE - 1) & ~(PAGE - 1);
	ph_syscall(NR_madvise, (int64_t)from, (int64_t)(to - from), MADV_POPULATE_WRITE, 0, 0, 0);
}

static bool may_make_process(int32_t nr)
{
	return nr == NR_clone || nr == NR_fork || nr == NR_vfork || nr == NR_clone3 || nr == PH_SITE_UNKNOWN;
}

/*	<instructions moved from before the syscall>
 *	lea rcx, [pass]; jmp ph_entry			when C must see the call
 * pass:	syscall
 * back:	<instructions moved from behind it>; jmp <the patched run's end>
 * fork:	syscall; mov rcx, rax; jrcxz back; lea rcx, [back]; jmp ph_entry_after		the child goes straight on */
bool ph_write_stub(struct ph_stub *stub, const struct ph_site *site, uint64_t start)
{
	static const uint8_t lea_rcx[] = { 0x48, 0x8d, 0x0d }, jmp[] = { 0xe9 }, syscall_insn[] = { 0x0f, 0x05 },
			     mov_rcx_rax[] = { 0x48, 0x89, 0xc1 };
	struct writer w = { .at = stub->code };
	bool hooked = ph_hooked(site->nr), forks = hooked && may_make_process(site->nr);
	unsigned bytes = site->before + (hooked ? 12u : 0u) + 2u + site->after + 5u + (forks ? 19u : 0u);
	uint8_t *pass, *back;

	if (bytes > sizeof(stub->code))
		return false;
	put(&w, site->bytes, site->before);
	if (hooked) {
		pass = w.at + 7 + 5;
		put_relative(&w, lea_rcx, 3, (uint64_t)pass);
		put_relative(&w, jmp, 1, (uint64_t)(ph_engine.recording ? ph_entry_ring : ph_entry));
	}
	stub->before = site->before;
	stub->after = site->after;
	stub->pass_at = (uint8_t)(w.at - stub->code);
	put(&w, syscall_insn, 2);
	back = w.at;
	put(&w, site->bytes + site->before + SYSCALL_BYTES, site->after);
	put_relative(&w, jmp, 1, start + site->length);
	stub->fork_at = 0;
	if (forks) {
		uint8_t jrcxz[2] = { 0xe3, 0 };

		stub->fork_at = (uint8_t)(w.at - stub->code);
		put(&w, syscall_insn, 2);
		put(&w, mov_rcx_rax, 3);
		jrcxz[1] = (uint8_t)(back - (w.at + 2));
		put(&w, jrcxz, 2);
		put_relative(&w, lea_rcx, 3, (uint64_t)back);
		put_relative(&w, jmp, 1, (uint64_t)ph_entry_after);
	}
	while (w.at < stub->code + sizeof(stub->code))
		*w.at++ = 0xcc;
	stub->resume = start + site->before + SYSCALL_BYTES;
	return !w.failed;
}

/* `at` is where the bytes go, `from` where they will be run. A jump to the stub, and where the syscall was a jump back to that, should anything still lead there. */
bool ph_write_jump(uint8_t *at, const struct ph_site *site, uint64_t from, const struct ph_stub *stub)
{
	int64_t distance = (int64_t)((uint64_t)stub->code - (from + 5));
	int32_t rel = (int32_t)distance;

	if (rel != distance)
		return false;
	at[0] = 0xe9;
	memcpy(at + 1, &rel, 4);
	for (unsigned i = 5; i < site->length; i++)
		at[i] = 0xcc;
	if (site->before >= 5) {
		at[site->before] = 0xeb;
		at[site->before + 1] = (uint8_t)-(site->before + SYSCALL_BYTES);
	}
	return true;
}

static bool patchable(const struct ph_site *site, const uint8_t *at)
{
	switch ((enum ph_tier)site->tier) {
	case PH_TIER_MOV:
	case PH_TIER_RUN:
	case PH_TIER_AFTER:
		return site->length >= 5 && site->length <= PH_SITE_BYTES &&
		       site->before + SYSCALL_BYTES + site->after == site->length && ph_n_stubs < PH_STUBS &&
		       memcmp(at, site->bytes, site->length) == 0;
	case PH_TIER_NONE:
	case PH_TIER_PUN:
	case PH_TIER_PAD:
	case PH_TIER_COUNT:
		return false;
	}
	return false;
}

/* With rules only the calls that someone wants to see; with none every site, so that the cost of patching shows. */
bool ph_wanted(int32_t nr)
{
	return !ph_engine.rules || ph_hooked(nr);
}

/* Which of an object's sites are to be patched, by address as they are listed. */
struct chosen {
	uint32_t n;
	uint16_t sites[SITES_MAX];
};

static void populate_sites(const struct ph_object *object, const struct ph_sites *list, const struct chosen *chosen)
{
	uint64_t from = 0, to = 0;

	for (uint32_t i = 0; i < chosen->n; i++) {
		const struct ph_site *site = &list->sites[chosen->sites[i]];
		uint64_t start = object->base + site->start;

		if (to && start > to + NEAR) {
			populate(from, to);
			to = 0;
		}
		from = to ? from : start;
		to = start + site->length;
	}
	if (to)
		populate(from, to);
}

static int choose(const struct ph_sites *list, struct chosen *chosen)
{
	chosen->n = 0;
	for (uint32_t i = 0; i < list->n; i++) {
		uint64_t start = list->sites[i].start;

		if (start < list->text_start || start + list->sites[i].length > list->text_start + list->text_bytes)
			return -EINVAL;
		if (!ph_wanted(list->sites[i].nr))
			continue;
		if (chosen->n == SITES_MAX)
			return -E2BIG;
		chosen->sites[chosen->n++] = (uint16_t)i;
	}
	return 0;
}

int ph_patch_object(const struct ph_object *object, const struct ph_sites *list)
{
	static struct chosen chosen;
	uint64_t first = ~0ull, last = 0, patched = 0;
	uint32_t begin = ph_n_stubs;
	int missing = 0, r;

	r = choose(list, &chosen);
	if (r < 0 || !chosen.n)
		return r;
	for (uint32_t i = 0; i < chosen.n; i++) {
		uint64_t start = list->sites[chosen.sites[i]].start;

		first = start < first ? start : first;
		last = start > last ? start : last;
	}
	if (!stubs_writable) {
		/* Later on somebody may be in them. */
		r = (int)ph_protect((uint64_t)ph_stubs, (uint64_t)(ph_stubs + PH_STUBS),
				    PROT_READ | PROT_WRITE | (ph_n_stubs ? PROT_EXEC : 0));
		if (r < 0)
			return r;
		stubs_writable = true;
		if (!ph_n_stubs)
			populate((uint64_t)ph_stubs, (uint64_t)(ph_stubs + STUBS_USUAL));
	}
	first += object->base;
	last += object->base + PH_SITE_BYTES;
	r = (int)ph_protect(first, last, PROT_READ | PROT_WRITE);
	if (r < 0)
		return r;
	populate_sites(object, list, &chosen);
	for (uint32_t i = 0; i < chosen.n; i++) {
		const struct ph_site *site = &list->sites[chosen.sites[i]];
		uint8_t *at = (uint8_t *)(object->base + site->start);

		if (patchable(site, at) && ph_write_stub(&ph_stubs[ph_n_stubs], site, (uint64_t)at) &&
		    ph_write_jump(at, site, (uint64_t)at, &ph_stubs[ph_n_stubs]))
			ph_n_stubs++;
		else
			missing++;
	}
	patched = ph_n_stubs - begin;
	/* Without this the program could not run on: the same call just succeeded the other way round. */
	ph_protect(first, last, PROT_READ | PROT_EXEC);
	__atomic_fetch_add(&ph_engine.control->sites_patched, patched, __ATOMIC_RELAXED);
	__atomic_fetch_add(&ph_engine.control->sites_unpatched, (uint64_t)missing, __ATOMIC_RELAXED);
	return missing;
}

void ph_patch_finish(void)
{
	if (stubs_writable)
		ph_protect((uint64_t)ph_stubs, (uint64_t)(ph_stubs + PH_STUBS), PROT_READ | PROT_EXEC);
	stubs_writable = false;
}

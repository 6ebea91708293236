/* Being put into a program that runs, and taken out of it. core/attach maps this library, calls these functions in one
 * stopped thread, and writes the patches that they list while every thread stands still. Nothing is ever unmapped:
 * threads may still be on their way out of a stub. */
#include "engine.h"

#include "descriptions.h"
#include "linux.h"
#include "examined.h"
#include "owed.h"
#include "signals.h"
#include "peephole/abi_live.h"

#define PAGE 4096ull
#define SYSCALL_BYTES 2
#define JUMP_BYTES 5
#define PADS 384
#define PUN_PAGES 128

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);

static int64_t begin(struct ph_live *live);
static int64_t commit(struct ph_live *live);
static int64_t disarm(struct ph_live *live);
static int64_t end(struct ph_live *live);
static int64_t abandon(struct ph_live *live);
void ph_live_call(void);
extern const char __ehdr_start[];

__attribute__((visibility("default"), used)) struct ph_anchor ph_anchor = {
	.magic = PH_LIVE_MAGIC,
	.version = PH_LIVE_VERSION,
	.size_bytes = sizeof(struct ph_anchor),
	.live_bytes = sizeof(struct ph_live),
	.call = (uint64_t)ph_live_call,
	.begin = (uint64_t)begin,
	.commit = (uint64_t)commit,
	.disarm = (uint64_t)disarm,
	.end = (uint64_t)end,
	.abandon = (uint64_t)abandon,
	.code = (uint64_t)__ehdr_start,
	.code_end = (uint64_t)ph_stubs,
	.stubs = (uint64_t)ph_stubs,
	.stubs_end = (uint64_t)(ph_stubs + PH_STUBS),
};

void ph_live_started(void)
{
	ph_anchor.state = PH_LIVE_IN;
	ph_anchor.control = (uint64_t)ph_engine.control;
}

/* --- stubs --------------------------------------------------------------------------------------------------- */

static uint32_t first_new;		/* stubs from here on are made by this attach; nobody has been in them */
static bool in_use[PH_STUBS];		/* a patched site leads to it, or is going to */
static bool attached;

void ph_live_patched(uint32_t from)
{
	for (uint32_t i = from; attached && i < ph_n_stubs; i++)
		in_use[i] = true;
}

static bool same_stub(const struct ph_stub *a, const struct ph_stub *b)
{
	return a->resume == b->resume && a->before == b->before && a->after == b->after && a->pass_at == b->pass_at &&
	       !a->fork_at == !b->fork_at;
}

/* A stub for the site, an old one where it is the same. */
static struct ph_stub *stub_for(const struct ph_site *site, uint64_t start)
{
	struct ph_stub *made = &ph_stubs[ph_n_stubs];

	if (ph_n_stubs == PH_STUBS || !ph_write_stub(made, site, start))
		return NULL;
	for (uint32_t i = 0; i < first_new; i++)
		if (same_stub(&ph_stubs[i], made)) {
			in_use[i] = true;
			return &ph_stubs[i];
		}
	in_use[ph_n_stubs++] = true;
	return made;
}

/* --- two-byte patches ------------------------------------------------------------------------------------------ */

static struct {
	uint64_t at;		/* of padding in the program's text that holds a jump of ours */
	uint32_t stub;		/* index + 1; 0: put back */
	uint8_t bytes;
	uint8_t before[JUMP_BYTES];
} pads[PADS];
static unsigned n_pads;

static uint64_t pun_pages[PUN_PAGES];
static unsigned n_pun_pages;

static bool jump(uint8_t bytes[JUMP_BYTES], uint64_t from, uint64_t to)
{
	int64_t distance = (int64_t)(to - (from + JUMP_BYTES));
	int32_t rel = (int32_t)distance;

	bytes[0] = 0xe9;
	memcpy(bytes + 1, &rel, 4);
	return rel == distance;
}

static struct ph_live_patch *add_patch(struct ph_live *live, uint64_t at, const void *bytes, unsigned n)
{
	struct ph_live_patch *p;

	if (live->n_patches == PH_LIVE_PATCHES)
		return NULL;
	p = &live->patches[live->n_patches++];
	*p = (struct ph_live_patch){ .at = at, .length = (uint8_t)n };
	memcpy(p->bytes, bytes, n);
	return p;
}

static bool add_site_patch(struct ph_live *live, uint64_t at, const void *bytes, unsigned n, const struct ph_stub *stub)
{
	struct ph_live_patch *p = add_patch(live, at, bytes, n);

	if (!p)
		return false;
	p->resume = stub->resume;
	p->stub_after = (uint64_t)stub->code + stub->pass_at + SYSCALL_BYTES;
	p->stub = (uint64_t)stub->code;
	p->moved = stub->before != 0;
	return true;
}

static bool is_padding(const uint8_t *at, unsigned n)
{
	static const uint8_t of_nops[] = { 0x90, 0x66, 0x2e, 0x0f, 0x1f, 0x00, 0x84, 0x40, 0x44, 0x80 };

	for (unsigned i = 0; i < n; i++) {
		unsigned known = 0;

		while (known < sizeof(of_nops) && of_nops[known] != at[i])
			known++;
		if (known == sizeof(of_nops))
			return false;
	}
	return true;
}

/* Padding at `at` will hold a jump for the stub. */
static bool take_pad(struct ph_live *live, uint64_t at, const uint8_t *bytes, unsigned n, const struct ph_stub *stub)
{
	unsigned i = 0;

	while (i < n_pads && pads[i].at != at)
		i++;
	if (i == PADS || !is_padding((const uint8_t *)at, n))
		return false;
	pads[i].at = at;
	pads[i].stub = (uint32_t)(stub - ph_stubs) + 1;
	pads[i].bytes = (uint8_t)n;
	memcpy(pads[i].before, (const void *)at, n);
	n_pads += i == n_pads;
	return add_patch(live, at, bytes, n) != NULL;
}

/* T3: short jumps through padding, the last of which jumps to the stub. */
static bool patch_pad(struct ph_live *live, const struct ph_site *site, const struct ph_stub *stub)
{
	uint64_t from = stub->resume - SYSCALL_BYTES, at = 0;
	uint8_t hop[SYSCALL_BYTES] = { 0xeb }, bytes[JUMP_BYTES], first = (uint8_t)site->pads[0];

	for (unsigned i = 0; i < PH_PADS && site->pads[i]; i++) {
		at = from + SYSCALL_BYTES + (uint64_t)(int64_t)site->pads[i];
		if (i + 1 == PH_PADS || !site->pads[i + 1])
			break;
		hop[1] = (uint8_t)site->pads[i + 1];
		if (!take_pad(live, at, hop, SYSCALL_BYTES, stub))
			return false;
		from = at;
	}
	hop[1] = first;
	return at && jump(bytes, at, (uint64_t)stub->code) && take_pad(live, at, bytes, JUMP_BYTES, stub) &&
	       add_site_patch(live, stub->resume - SYSCALL_BYTES, hop, SYSCALL_BYTES, stub);
}

static bool our_page(uint64_t page)
{
	for (unsigned i = 0; i < n_pun_pages; i++)
		if (pun_pages[i] == page)
			return true;
	return false;
}

/* The page is ours, or becomes ours because nothing is there. */
static bool take_page(uint64_t page)
{
	int64_t at;

	if (our_page(page))
		return true;
	if (n_pun_pages == PUN_PAGES)
		return false;
	at = ph_syscall(NR_mmap, (int64_t)page, PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (at != (int64_t)page) {
		if (at > 0)	/* a kernel that doesn't know the flag, before 4.17 */
			ph_syscall(NR_munmap, at, PAGE, 0, 0, 0, 0);
		return false;
	}
	memset((void *)page, 0xcc, PAGE);
	pun_pages[n_pun_pages++] = page;
	return ph_protect(page, page + PAGE, PROT_READ | PROT_EXEC) == 0;
}

/* A jump that an earlier attach left for the same call site: to another of its stubs is just as right. */
static bool leads_to_the_same(uint64_t at, const struct ph_stub *stub)
{
	const struct ph_stub *to;
	int32_t distance;

	if (*(const uint8_t *)at != 0xe9)
		return false;
	memcpy(&distance, (const void *)(at + 1), 4);
	to = (const struct ph_stub *)(at + JUMP_BYTES + (uint64_t)(int64_t)distance);
	return to >= ph_stubs && to < ph_stubs + PH_STUBS && to->resume == stub->resume;
}

/* A jump to the stub at `at`, on pages of ours, unless other code of ours is there. */
static bool put_hop(uint64_t at, const struct ph_stub *stub)
{
	static const uint8_t free[JUMP_BYTES] = { 0xcc, 0xcc, 0xcc, 0xcc, 0xcc };
	uint64_t last = at + JUMP_BYTES - 1;
	uint8_t bytes[JUMP_BYTES];

	if (!jump(bytes, at, (uint64_t)stub->code) || !take_page(at & ~(PAGE - 1)) || !take_page(last & ~(PAGE - 1)))
		return false;
	if (memcmp((const void *)at, bytes, JUMP_BYTES) == 0)
		return true;
	if ((memcmp((const void *)at, free, JUMP_BYTES) != 0 && !leads_to_the_same(at, stub)) ||
	    ph_protect(at, last + 1, PROT_READ | PROT_WRITE | PROT_EXEC) < 0)
		return false;
	memcpy((void *)at, bytes, JUMP_BYTES);
	return ph_protect(at, last + 1, PROT_READ | PROT_EXEC) == 0;
}

/* T2: two bytes that make a jump of five or six with the bytes behind them; where it leads has to be free. */
static bool patch_pun(struct ph_live *live, const struct ph_stub *stub)
{
	uint64_t site = stub->resume - SYSCALL_BYTES;
	const uint8_t *behind = (const uint8_t *)stub->resume;
	uint8_t bytes[SYSCALL_BYTES] = { 0xe9 }, rel[4];
	int32_t distance;

	memcpy(rel + 1, behind, 3);
	for (unsigned low = 0; low < 256; low += 8) {
		rel[0] = bytes[1] = (uint8_t)low;
		memcpy(&distance, rel, 4);
		if (put_hop(site + 5 + (uint64_t)(int64_t)distance, stub))
			return add_site_patch(live, site, bytes, SYSCALL_BYTES, stub);
	}
	bytes[0] = 0x48;
	bytes[1] = 0xe9;
	memcpy(&distance, behind, 4);
	return put_hop(site + 6 + (uint64_t)(int64_t)distance, stub) && add_site_patch(live, site, bytes, SYSCALL_BYTES, stub);
}

/* --- putting in ------------------------------------------------------------------------------------------------ */

/* Patches after which every address that may lie in a saved signal frame still works: nothing that moves what stands
 * around the two instructions. Where none is to be had, one that moves what stands before them. */
static enum ph_tier patch_site(struct ph_live *live, const struct ph_site *site, uint64_t base)
{
	uint64_t start = base + site->start, call = start + site->before;
	struct ph_site two = { .start = site->start + site->before, .nr = site->nr, .length = SYSCALL_BYTES };
	struct ph_stub *stub;
	uint8_t bytes[PH_SITE_BYTES];

	if (site->length > PH_SITE_BYTES || site->before + SYSCALL_BYTES + site->after != site->length ||
	    memcmp((const void *)start, site->bytes, site->length) != 0)
		return PH_TIER_NONE;
	if (site->tier == PH_TIER_MOV) {
		stub = stub_for(site, start);
		return stub && ph_write_jump(bytes, site, start, stub) && add_site_patch(live, start, bytes, site->length, stub)
			       ? PH_TIER_MOV : PH_TIER_NONE;
	}
	memcpy(two.bytes, site->bytes + site->before, SYSCALL_BYTES);
	stub = stub_for(&two, call);
	if (stub && patch_pad(live, site, stub))
		return PH_TIER_PAD;
	if (stub && patch_pun(live, stub))
		return PH_TIER_PUN;
	stub = site->tier == PH_TIER_RUN || (site->tier == PH_TIER_AFTER && live->fresh) ? stub_for(site, start) : NULL;
	if (!stub || !ph_write_jump(bytes, site, start, stub) || !add_site_patch(live, start, bytes, site->length, stub))
		return PH_TIER_NONE;
	live->patches[live->n_patches - 1].run = site->before;
	return PH_TIER_RUN;
}

static const struct ph_sites *list_at(const struct ph_live *live, uint64_t offset)
{
	const struct ph_sites *list = (const struct ph_sites *)(live->lists + offset);

	if (offset > live->lists_bytes || live->lists_bytes - offset < sizeof(*list) || list->magic != PH_SITES_MAGIC ||
	    list->version != PH_SITES_VERSION ||
	    list->n > (live->lists_bytes - offset - sizeof(*list)) / sizeof(list->sites[0]))
		return NULL;
	return list;
}

static int64_t patch_objects(struct ph_live *live)
{
	if (ph_engine.trapping)
		return 0;
	if (live->bare && ph_rules_enabled())
		return 0;	/* no rule can act there, so why patch */
	for (unsigned i = 0; i < live->n_objects && i < PH_LIVE_OBJECTS; i++) {
		const struct ph_sites *list = list_at(live, live->objects[i].list);

		if (!list)
			return -ENOEXEC;
		for (uint32_t s = 0; s < list->n; s++) {
			const struct ph_site *site = &list->sites[s];
			enum ph_tier tier;

			if (site->start < list->text_start ||
			    site->start + site->length > list->text_start + list->text_bytes)
				return -EINVAL;
			if (!ph_wanted(site->nr))
				continue;
			tier = patch_site(live, site, live->objects[i].base);
			live->by_tier[tier]++;
			if (tier != PH_TIER_NONE)
				continue;
			if (live->missing < sizeof(live->missing_nr) / sizeof(live->missing_nr[0]))
				live->missing_nr[live->missing] = site->nr;
			live->missing++;
		}
	}
	return 0;
}

static void forget_patches(void)
{
	for (unsigned i = 0; i < n_pads; i++)
		pads[i].stub = 0;
	memset(in_use, 0, sizeof(in_use));
}

static int64_t begin(struct ph_live *live)
{
	bool rules;
	int64_t r;

	if (ph_anchor.state == PH_LIVE_IN)
		return -EBUSY;
	if (ph_engine.control)
		ph_syscall(NR_munmap, (int64_t)ph_engine.control, sizeof(*ph_engine.control), 0, 0, 0, 0);
	ph_engine.control = NULL;
	ph_engine.fsgsbase = live->hwcap2 & 2;
	memcpy(ph_engine.exe, live->exe, sizeof(ph_engine.exe));
	if (!ph_set_paths(live->control_path) || !ph_open_control())
		return -ENOENT;
	ph_anchor.control = (uint64_t)ph_engine.control;
	ph_engine.bare = live->bare;
	rules = ph_rules_enabled() && !live->own_calls;
	ph_engine.rules = false;
	if (ph_engine.control->recording)	/* calls are recorded in programs that the dynamic linker starts */
		ph_uncovered(PH_UNCOVERED_STATIC, ph_engine.exe);
	ph_engine.trapping = ph_engine.control->trapping && live->fresh && !live->bare;
	if (rules || ph_engine.trapping) {
		r = ph_hook_init();
		if (r == 0)
			r = ph_faults_prepare();
		if (r == 0 && rules)
			r = ph_dispatch_init(ph_engine.control);
		if (r < 0)
			return r;
	}
	if (rules) {
		/* It may have descriptors and mappings already. */
		ph_owed_blind(1);	/* nothing is known of the other processes of its tree */
		ph_examined_end();
		for (uint32_t i = 0; i < live->n_mapped && i < PH_LIVE_MAPPED; i++)
			ph_inode_mapped(live->mapped[i].dev, live->mapped[i].ino);
		ph_engine.rules = true;
	}
	/* Threads may be in stubs of an earlier attach. */
	r = ph_protect((uint64_t)ph_stubs, (uint64_t)(ph_stubs + PH_STUBS), PROT_READ | PROT_WRITE | PROT_EXEC);
	if (r < 0)
		return r;
	forget_patches();
	attached = true;
	first_new = ph_n_stubs;
	r = patch_objects(live);
	ph_protect((uint64_t)ph_stubs, (uint64_t)(ph_stubs + PH_STUBS), PROT_READ | PROT_EXEC);
	if (r == 0)
		ph_anchor.state = PH_LIVE_READY;
	return r;
}

/* In doubt there are more. */
static bool only_thread(void)
{
	enum { FOLDER = 2 };	/* links of a folder, and one for each thread: proc_task_getattr, fs/proc/base.c */
	struct ph_identity id;

	return ph_identify_path((int64_t)"/proc/self/task", &id) == 0 && id.links == FOLDER + 1;
}

/* Every thread stands still; the patches are being written. */
static int64_t commit(struct ph_live *live)
{
	struct ph_control *control = ph_engine.control;

	int r = ph_engine.rules || ph_engine.trapping ? ph_faults_install() : 0;

	if (r == 0 && ph_engine.trapping)
		r = ph_trap_start();
	if (r < 0)
		return r;
	if (ph_engine.rules) {
		if (!only_thread())
			ph_thread_begin();
		ph_fds_unknown();
		if (!live->fresh)
			ph_signals_wrap();
	}
	if (live->own_calls && ph_rules_enabled())
		ph_uncovered(PH_UNCOVERED_SITES, ph_engine.exe);
	__atomic_fetch_add(&control->processes, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&control->sites_patched,
			   live->by_tier[PH_TIER_MOV] + live->by_tier[PH_TIER_PAD] + live->by_tier[PH_TIER_PUN] +
				   live->by_tier[PH_TIER_RUN], __ATOMIC_RELAXED);
	__atomic_fetch_add(&control->sites_unpatched, live->missing, __ATOMIC_RELAXED);
	ph_anchor.state = PH_LIVE_IN;
	return 0;
}

/* --- taking out ------------------------------------------------------------------------------------------------ */

/* What stood where a stub's call was: the stub has all of it. */
static bool add_original(struct ph_live *live, uint32_t i)
{
	const struct ph_stub *stub = &ph_stubs[i];
	uint64_t start = stub->resume - SYSCALL_BYTES - stub->before;
	uint8_t bytes[PH_LIVE_BYTES];
	unsigned n = 0;

	if (stub->before + SYSCALL_BYTES + stub->after > PH_LIVE_BYTES)
		return false;
	memcpy(bytes, stub->code, stub->before);
	n = stub->before;
	memcpy(bytes + n, stub->code + stub->pass_at, SYSCALL_BYTES + stub->after);
	return add_site_patch(live, start, bytes, n + SYSCALL_BYTES + stub->after, stub);
}

/* The patches of a launched program are those of all its stubs. */
static void list_originals(struct ph_live *live)
{
	bool launched = true;

	for (uint32_t i = 0; i < ph_n_stubs; i++)
		launched = launched && !in_use[i];
	live->n_patches = 0;
	for (uint32_t i = 0; i < ph_n_stubs; i++)
		if (launched || in_use[i])
			add_original(live, i);
	for (unsigned i = 0; i < n_pads; i++) {
		struct ph_live_patch *p;

		if (!pads[i].stub)
			continue;
		p = add_patch(live, pads[i].at, pads[i].before, pads[i].bytes);
		if (!p)
			continue;
		/* One that was about to take this jump makes its call in the old way. */
		p->stub_after = pads[i].at;
		p->resume = ph_stubs[pads[i].stub - 1].resume - SYSCALL_BYTES;
	}
}

/* Other threads run on: what is pending is settled, and from here on every call passes. */
static int64_t disarm(struct ph_live *live)
{
	if (ph_anchor.state != PH_LIVE_IN)
		return -EINVAL;
	if (ph_engine.rules)
		ph_disarm(PH_WHY_SWITCHED_OFF);
	ph_engine.rules = false;
	if (ph_engine.trapping)
		ph_trap_stop();
	list_originals(live);
	return 0;
}

/* Somebody may still be on the way to the control page, which others share: a page of our own takes its place. */
static void leave_control(void)
{
	ph_syscall(NR_mmap, (int64_t)ph_engine.control, sizeof(*ph_engine.control), PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

/* Every thread stands still, and none is in our C. */
static int64_t end(struct ph_live *live)
{
	(void)live;
	ph_faults_remove();
	forget_patches();
	leave_control();
	ph_anchor.state = PH_LIVE_OUT;
	return 0;
}

/* After begin, when the patches were not written after all. */
static int64_t abandon(struct ph_live *live)
{
	(void)live;
	if (ph_engine.rules)
		ph_disarm(PH_WHY_SWITCHED_OFF);
	ph_engine.rules = false;
	ph_engine.faults = false;
	forget_patches();
	if (ph_engine.control)
		leave_control();
	ph_anchor.state = PH_LIVE_OUT;
	return 0;
}

/* Windows into files that are scanned: see ph_copy_mapped in rule.h. Their place is reserved when the first file is scanned,
 * so that a program which scans none, and limits its address space, has all of it. A description has one window at most, and
 * loses it when it is closed, so that no file is held longer than the program holds it. */
#include "scans.h"

#include "numbers.h"

#define WINDOWS 8
#define WINDOW_BYTES (64 << 20)	/* a table that is scanned again is still mapped */

static struct window {
	uint32_t owner;		/* 1 + the description's index; 0: free */
	uint32_t used;		/* the turn when it was looked at last */
	int64_t offset;
} windows[WINDOWS];

static int64_t place;		/* 0: not reserved yet; negative: there is none */
static uint32_t turn;
static unsigned n_used;

/* Once, under the hold. Of an address space that is limited nothing is taken. */
static void reserve(void)
{
	enum { RLIMIT_AS = 9 };
	uint64_t room[2] = { 0, 0 };	/* struct rlimit */

	ph_syscall(PH_NR_prlimit64, 0, RLIMIT_AS, 0, (int64_t)room, 0, 0);
	place = -1;
	if (room[0] == UINT64_MAX)
		place = ph_syscall(PH_NR_mmap, 0, WINDOWS * (int64_t)WINDOW_BYTES, 0,
				   PH_MAP_PRIVATE | PH_MAP_ANONYMOUS | PH_MAP_NORESERVE, -1, 0);
}

static int64_t at(const struct window *w)
{
	return place + (w - windows) * (int64_t)WINDOW_BYTES;
}

static void unmap(struct window *w)
{
	ph_syscall(PH_NR_mmap, at(w), WINDOW_BYTES, 0, PH_MAP_PRIVATE | PH_MAP_ANONYMOUS | PH_MAP_NORESERVE | PH_MAP_FIXED, -1, 0);
	w->owner = 0;
	n_used--;
}

void ph_scan_end(unsigned index)
{
	for (unsigned i = 0; n_used && i < WINDOWS; i++)
		if (windows[i].owner == index + 1)
			unmap(&windows[i]);
}

void ph_scans_end(void)
{
	for (unsigned i = 0; n_used && i < WINDOWS; i++)
		if (windows[i].owner)
			unmap(&windows[i]);
}

static struct window *window_of(unsigned index)
{
	struct window *oldest = &windows[0];

	for (unsigned i = 0; i < WINDOWS; i++) {
		if (windows[i].owner == index + 1)
			return &windows[i];
		if (oldest->owner && (!windows[i].owner || turn - windows[i].used > turn - oldest->used))
			oldest = &windows[i];
	}
	return oldest;
}

static bool holds(const struct window *w, unsigned index, int64_t offset, int64_t n)
{
	return w->owner == index + 1 && w->offset <= offset && offset + n <= w->offset + WINDOW_BYTES;
}

/* Over what was there before. Pages come in by faults, sixteen at a time: of a scan that stops, few were read for nothing. */
static bool map(struct window *w, unsigned index, int64_t fd, int64_t offset)
{
	int64_t begin = offset & -(int64_t)4096, r;

	if (!place)
		reserve();
	if (place < 0)
		return false;
	if (w->owner)
		unmap(w);
	r = ph_syscall(PH_NR_mmap, at(w), WINDOW_BYTES, PH_PROT_READ, PH_MAP_SHARED | PH_MAP_FIXED, fd, begin);
	if (r != at(w))
		return false;
	w->owner = index + 1;
	w->offset = begin;
	n_used++;
	return true;
}

int64_t ph_copy_mapped(struct ph_k *k, int64_t fd, int64_t user, int64_t offset, int64_t n)
{
	struct ph_description *d = ph_description_of(fd);
	struct window *w;
	int64_t r;

	if (place < 0 || !d || offset < 0 || n < 0 || n > WINDOW_BYTES / 2)
		return -PH_EINVAL;
	w = window_of(ph_description_index(d));
	if (!holds(w, ph_description_index(d), offset, n)) {
		if (k->walk->trial) {
			k->walk->aborted = true;
			return -PH_EAGAIN;
		}
		if (!map(w, ph_description_index(d), fd, offset))
			return -PH_EAGAIN;
	}
	w->used = ++turn;
	r = ph_copy_out((void *)user, (const void *)(at(w) + offset - w->offset), (size_t)n);
	return r < 0 ? r : n;
}

#define _GNU_SOURCE
#include "slots.h"
#include "watches.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t offset_of(const struct ph_slots *s, const struct ph_slot *slot)
{
	return (uint64_t)(slot - s->slots) * s->keeping->slot_bytes;
}

static void settle(const struct ph_slots *s, const struct ph_slot *slot, int process, uint64_t before)
{
	struct ph_keep keep = { .control = s->control, .offset = offset_of(s, slot), .before = before, .memory = s->memory,
				.process = process };

	ph_watches_forget();
	s->keeping->settle(&keep);	/* -EBUSY: another time */
}

static bool anything(const struct ph_head *head)
{
	for (unsigned i = 0; i < PH_DIRTY_WORDS; i++)
		if (atomic_load(&head->dirty[i]))
			return true;
	return false;
}

/* Zeroes the slot before anybody else can have it. */
static void give_back(struct ph_slots *s, struct ph_slot *slot)
{
	if (slot->head)
		munmap(slot->head, sizeof(*slot->head));
	if (slot->process >= 0)
		close(slot->process);
	fallocate(s->memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset_of(s, slot), (off_t)s->keeping->slot_bytes);
	__atomic_store_n(&s->control->slots[slot - s->slots], 0, __ATOMIC_RELEASE);
	*slot = (struct ph_slot){ .process = -1 };
}

static bool meet(struct ph_slots *s, struct ph_slot *slot, uint32_t pid)
{
	void *head = mmap(NULL, sizeof(*slot->head), PROT_READ | PROT_WRITE, MAP_SHARED, s->memory, (off_t)offset_of(s, slot));

	if (head == MAP_FAILED)
		return false;
	*slot = (struct ph_slot){ .pid = pid, .process = (int)syscall(SYS_pidfd_open, pid, 0), .head = head };
	return true;
}

static bool is_over(const struct ph_slot *slot)
{
	struct pollfd end = { .fd = slot->process, .events = POLLIN };

	/* Without a pidfd: it was over before we met, or there is no descriptor left for us. */
	return slot->process < 0 ? kill((pid_t)slot->pid, 0) < 0 && errno == ESRCH : poll(&end, 1, 0) == 1;
}

int ph_slots_look(struct ph_slots *s, uint64_t tick, uint64_t before)
{
	int living = 0;

	for (unsigned i = 0; i < PH_SLOTS; i++) {
		uint32_t pid = __atomic_load_n(&s->control->slots[i], __ATOMIC_ACQUIRE);
		struct ph_slot *slot = &s->slots[i];

		if (!pid || (!slot->pid && !meet(s, slot, pid)))
			continue;
		if (is_over(slot)) {
			if (slot->head->pid && anything(slot->head))
				settle(s, slot, -1, 0);
			give_back(s, slot);
			continue;
		}
		living++;
		atomic_store(&slot->head->tick, tick);
		if (slot->head->pid && slot->process >= 0 && anything(slot->head))
			settle(s, slot, slot->process, before);
	}
	return living;
}

int ph_slots_wait(const struct ph_slots *s, struct pollfd wait[PH_SLOTS])
{
	int n = 0;

	for (unsigned i = 0; i < PH_SLOTS; i++)
		if (s->slots[i].pid && s->slots[i].process >= 0)
			wait[n++] = (struct pollfd){ .fd = s->slots[i].process, .events = POLLIN };
	return n;
}

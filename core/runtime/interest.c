/* Mechanisms on the interest lists of epolls: see rule.h. */
#include "interest.h"

#include "guard.h"
#include "layers.h"
#include "numbers.h"
#include "opens.h"

#define KNOWN_IN_A_ROW 16	/* so many waits answered without the kernel, and then it is asked */
#define EVENTS_MAX 256		/* of one answer */

/* How a place in a list behaves that is not level-triggered, or that the kernel treats apart. */
#define SPECIAL (1u << 31 | 1u << 30 | 1u << 29 | 1u << 28)	/* EPOLLET, EPOLLONESHOT, EPOLLWAKEUP, EPOLLEXCLUSIVE */

struct event {
	uint32_t events;
	uint64_t tag;
} __attribute__((packed));

static struct event read_event(int64_t user)
{
	struct event event;

	if (ph_copy_in(&event, (const void *)user, sizeof(event)) < 0)
		return (struct event){ SPECIAL, 0 };
	return event;
}

int64_t ph_level(struct ph_k *k, int64_t event)
{
	uint32_t events = read_event(event).events;

	(void)k;
	return events & SPECIAL ? -1 : (int64_t)events;
}

int64_t ph_tag(struct ph_k *k, int64_t event)
{
	(void)k;
	return (int64_t)read_event(event).tag;
}

bool ph_asks_out(int64_t mask)
{
	return mask & PH_EPOLLOUT;
}

bool ph_watchable(struct ph_k *k, int64_t epoll)
{
	if (ph_hold_threaded())
		return false;
	if (ph_fd_epoll(epoll) == PH_FD_NOT_ASKED) {
		if (k->walk->trial) {
			k->walk->aborted = true;
			return false;
		}
		ph_fd_ask_epoll(epoll);
	}
	return ph_fd_epoll(epoll) == PH_FD_IS_EPOLL;
}

int64_t ph_k_watch(struct ph_k *k, int64_t epoll, int64_t op, int64_t fd, int64_t mask, int64_t tag)
{
	struct event event = { (uint32_t)mask, (uint64_t)tag };

	if (k->walk->trial) {
		k->walk->aborted = true;
		return -PH_EAGAIN;
	}
	return ph_syscall(PH_NR_epoll_ctl, epoll, op, fd, (int64_t)&event, 0, 0);
}

int64_t ph_known(struct ph_k *k, int64_t epoll, int64_t events, int64_t n)
{
	static _Atomic uint32_t in_a_row;
	const struct ph_rule *rule = ph_layers[k->layer].rule;
	struct ph_glance glance;
	int64_t count = 0;

	if (!rule->ready || n <= 0 || !ph_glance_begin(&glance) || atomic_load(&in_a_row) >= KNOWN_IN_A_ROW) {
		atomic_store(&in_a_row, 0);
		return 0;
	}
	for (unsigned i = 0; i < ph_descriptions_used && count < n && count < EVENTS_MAX; i++) {
		struct ph_description *d = ph_description_at(i);
		struct ph_state *f;
		struct event event = { PH_EPOLLOUT, 0 };

		if (!d->fds || d->error || !(d->handled & (1u << k->layer)))
			continue;
		f = ph_state_of(k->walk, d, k->layer);
		if (ph_guarded(k, f, (const void *)(int64_t)d->fd, rule->ready) != epoll)
			continue;
		event.tag = *(uint64_t *)((uint8_t *)f + rule->tag_at);
		if (ph_copy_out((void *)(events + count * (int64_t)sizeof(event)), &event, sizeof(event)) < 0) {
			count = 0;	/* the kernel has its own answer */
			break;
		}
		count++;
	}
	if (!ph_glance_end(&glance))
		count = 0;
	atomic_store(&in_a_row, count ? atomic_load(&in_a_row) + 1 : 0);
	return count;
}

void ph_settle_seen(enum ph_why why)
{
	struct ph_walk walk;

	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	ph_settle_seen_held(&walk, why);
	ph_walk_end(&walk);
}

/* An epoll's number is about to mean something else: nothing may be pending in its list. */
void ph_leave_epoll(int64_t fd)
{
	struct ph_walk walk;

	if (!ph_interest_layers || ph_fd_epoll(fd) != PH_FD_IS_EPOLL)
		return;
	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	ph_layers_drop(&walk, ph_interest_layers, PH_WHY_UNHANDLED);
	ph_walk_end(&walk);
}

/* A second descriptor of a socket has places of its own in interest lists. */
void ph_leave_lists(int64_t fd)
{
	struct ph_walk walk;

	if (!ph_interest_layers || !ph_description_of(fd))
		return;
	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	if (ph_description_of(fd))
		ph_description_lose(&walk, ph_description_of(fd), ph_interest_layers, PH_WHY_SHARED);
	ph_walk_end(&walk);
}

void ph_forget_named(int64_t fd)
{
	struct ph_walk walk;

	if (!ph_description_of(fd))
		return;
	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	if (ph_description_of(fd))
		ph_description_forget(&walk, ph_description_of(fd));
	ph_walk_end(&walk);
}

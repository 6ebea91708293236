/* Syncs that were answered and are made later: one file of the whole tree of processes owes one at a time. What is owed
 * stands in the control page, so that whichever process is about to change another file makes the sync first. */
#ifndef PH_RUNTIME_OWED_H
#define PH_RUNTIME_OWED_H

#include "layers.h"

extern bool ph_owed_used;	/* a rule puts syncs off */

static inline bool ph_owed_any(void)
{
	return __builtin_expect(ph_owed_used, 0) && __atomic_load_n(&ph_control->owed.by, __ATOMIC_SEQ_CST);
}

/* Whether calls of this number (one of PH_NR_MAX), whatever their arguments, are nothing to what is owed. */
bool ph_owed_passes(int64_t nr);

/* Whether this call leaves every other file and every name as they are, and the descriptor that owes open. */
bool ph_owed_may_wait(const struct ph_call *c);

/* Makes what is owed. A failure is kept with the description, if it is one of this process. `walk`: what is under way, or
 * NULL when nothing is held. */
void ph_owed_settle(struct ph_walk *walk);

/* fsync or fdatasync by the kernel; after a success nothing is owed that was asked before it. */
int64_t ph_owed_sync(const struct ph_description *d, const struct ph_call *c);

/* epoll_wait of the process that owes: waits no longer than that may, makes it, and waits on. False: the call passes. */
bool ph_owed_wait(struct ph_call *c);

/* The keeper's look: what is owed is made before it is due, so that no process of the tree waits for it. When to look
 * again: while syncs are put off, when the next is nearly due, and in `often_ms` at the earliest; else in `seldom_ms`. */
int ph_owed_look(int often_ms, int seldom_ms);

/* From now on (1), or no more (-1), calls are made in the tree that nobody sees: what is owed is made, nothing is owed
 * meanwhile. */
void ph_owed_blind(int by);

/* In a fork's child, before anything else. */
void ph_owed_adopt(void);

/* After a program was counted that no rule sees; this process may be such a one. */
void ph_owed_uncovered(struct ph_control *control);

/* Before the program maps a file: what is stored in a shared mapping nobody sees. */
void ph_owed_mapped(int64_t fd, int64_t flags);

#endif

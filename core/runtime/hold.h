/* Who may touch the dispatcher's state.
 *
 * Two ways to hold it:
 *   trial   signals open; works on copies of one description's states and commits by one compare-and-swap on
 *           that description's word. Anyone who finds the trial in the way (a signal handler on the same thread, or another
 *           thread after a bounded wait) takes over: marks the description dead, so that the commit fails.
 *   firm    nobody takes over; ends with the owner's own kernel calls. A signal handler that would interrupt it waits for its end
 *           (signals.c), or signals are held back.
 *
 * The owner word, for firm holds, and for trials once the program has threads: the thread's number (ph_self, 48 bits,
 * low 4 zero), bit 0 firm, bit 1 a signal is deferred, top 16 bits 1 + the index of the description under trial.
 *
 * The local word, for trials while there is one thread: top 16 bits 1 + the index, below them the description's commits
 * when the trial began. The trial is on as long as the description still counts as many; so the commit ends it, and
 * nothing has to be given back. Only signal handlers of the same thread can come between, at the borders of
 * instructions: a cmpxchg without lock, a fraction of the price, is atomic to them. A handler may make the second
 * thread; ph_hold_threads first takes over what it has interrupted, so that trial's commit fails on a description
 * which nobody else touches any more; and a trial that has not marked the local word yet finds, when it has, that
 * there are threads, and gives up. The local word is not looked at from then on.
 *
 * Both lie with what they guard, in memory that the keeper may share (keeper.c): it becomes owner too, firmly. That a
 * process is a fork's child tells a page that a fork wipes; a child then never finds a lock held by a thread that it does
 * not have. */
#ifndef PH_RUNTIME_HOLD_H
#define PH_RUNTIME_HOLD_H

#include <stdbool.h>
#include <stdint.h>

struct ph_firm {
	uint64_t signals;	/* the mask to restore */
	bool blocked;		/* signals were held back */
};

struct ph_description;

struct ph_trial {
	uint64_t ticket, word;	/* what stands in the owner or local word; the description's word when it began */
	bool threads;		/* begun when the program had threads */
};

int ph_hold_init(void);

/* True once in a fork's child, before it has done anything. */
bool ph_hold_forked(void);
void ph_hold_adopt(void);

bool ph_trial_begin(const struct ph_description *d, struct ph_trial *trial);
/* Puts the copies of the layers in `touched` in force. */
bool ph_trial_commit(struct ph_description *d, const struct ph_trial *trial, uint32_t touched);
bool ph_trial_on(uint64_t local);		/* whether a value of the local word is of a trial that is still on */
bool ph_trial_end(const struct ph_trial *trial, bool committed);	/* false: it was taken over */

/* Returns the index of the description whose trial was taken over, -1, or PH_KEEPER_DIED, which held the state. */
#define PH_KEEPER_DIED (-2)
int ph_firm_begin(struct ph_firm *firm);
void ph_firm_end(const struct ph_firm *firm);

/* A look at the states of a program of one thread without a hold: it counts if no signal handler came between that
 * changed any. */
struct ph_glance {
	uint64_t firm, ended;
};
bool ph_glance_begin(struct ph_glance *glance);
bool ph_glance_end(const struct ph_glance *glance);

/* For a signal handler: whether what it interrupts is a firm hold of its own thread. Then the signal may be deferred: its
 * context gets to hold all signals back, and `mask`, which stood there, comes back with the end of the hold. */
bool ph_hold_mine(void);
void ph_hold_defer(uint64_t mask);

/* From now on firm holds keep signals back: the program is about to have a handler that can't be deferred. True the first time;
 * then a hold that began without may still be on, and has to be waited for before the handler is installed. */
bool ph_hold_mask(void);

uint64_t ph_hold_signals(void);		/* all of them back; the mask before */
void ph_hold_open_signals(uint64_t mask);

/* From now on the program may have more than one thread. Firmly held. */
void ph_hold_threads(void);
bool ph_hold_threaded(void);

/* Forks in flight: descriptions made meanwhile count as shared. Wiped in the child. */
void ph_window_open(void);
void ph_window_close(void);
uint64_t ph_window_stamp(void);		/* changes whenever a window opens */
bool ph_window_any(void);

#endif

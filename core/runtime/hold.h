/* Who may touch the dispatcher's state: one owner word for the process.
 *
 * Two ways to hold it:
 *   trial   signals open; works on a copy of one description's states and commits by one compare-and-swap on
 *           that description's word. Anyone who finds the trial in the way (a signal handler on the same thread, or another
 *           thread after a bounded wait) takes over: marks the description dead, so that the commit fails.
 *   firm    signals held back (if the program has any handler); nobody takes over; ends with the owner's own kernel
 *           calls.
 *
 * The owner word: the thread's number (ph_self, 48 bits, low 4 zero), bit 0 firm, top 16 bits 1 + the index of the
 * description under trial. It lies in a page that a fork wipes, so a child never finds a lock held by a thread that it
 * does not have. */
#ifndef PH_RUNTIME_HOLD_H
#define PH_RUNTIME_HOLD_H

#include <stdbool.h>
#include <stdint.h>

struct ph_firm {
	uint64_t signals;	/* the mask to restore */
	bool blocked;		/* signals were held back */
};

int ph_hold_init(void);

/* True once in a fork's child, before it has done anything. */
bool ph_hold_forked(void);
void ph_hold_adopt(void);

bool ph_trial_begin(unsigned description, uint64_t *ticket);
bool ph_trial_end(uint64_t ticket);	/* false: it was taken over */

/* Returns the index of the description whose trial was taken over, or -1. */
int ph_firm_begin(struct ph_firm *firm);
void ph_firm_end(const struct ph_firm *firm);

/* From now on firm holds keep signals back: the program is about to have a handler. True the first time; then a hold
 * that began without may still be on, and has to be waited for before the handler is installed. */
bool ph_hold_handlers(void);

/* Forks in flight: descriptions made meanwhile count as shared. Wiped in the child. */
void ph_window_open(void);
void ph_window_close(void);
uint64_t ph_window_stamp(void);		/* changes whenever a window opens */
bool ph_window_any(void);

#endif

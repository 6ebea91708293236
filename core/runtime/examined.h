/* What files were when they were last examined, kept by the keeper for the whole tree (abi_examined.h): see ph_examined in
 * rule.h. */
#ifndef PH_RUNTIME_EXAMINED_H
#define PH_RUNTIME_EXAMINED_H

#include "layers.h"
#include "peephole/abi_examined.h"

extern struct ph_rule_control *ph_examined_rule;	/* whose answers these are, or NULL: no rule asks */

/* Once the layers are known, while there is one thread. */
void ph_examined_join(void);

/* The table, or NULL where there is none, or this process can't have it. */
struct ph_examined *ph_examined_table(void);

/* Nobody in the tree has answers any more: changes are made, or may be, that the keeper does not hear of. */
void ph_examined_end(void);

/* --- changes.c ------------------------------------------------------------------------------------------------- */

/* This process is one that changes files; and, in the end, no more. */
void ph_changes_join(struct ph_examined *t);
void ph_changes_leave(void);

/* Before any call, as far as it can't be told that it leaves all files as they are. */
void ph_changes_before(const struct ph_call *c);
bool ph_changes_may(int64_t nr);

/* Around what changes files without a call of its own: a fork whose child may have this memory, and a rule's settle. `fd`:
 * what changes, or -1: anything that has a name. False: this thread is in the middle of a change already, which ends later. */
bool ph_changes_begin(int64_t fd);
void ph_changes_end(void);
/* The same, unless this is a signal handler that has come in between. */
void ph_changes_past(void);

/* The program is about to have a signal handler, installed with these flags. */
void ph_changes_handler(uint64_t flags);

/* chdir, fchdir, umount2: true, and it has been made. */
bool ph_changes_made(struct ph_call *c);
uint32_t ph_changes_moves(void);	/* twice the times that this process has gone elsewhere; odd: it is on its way */

/* In a fork's child, which has none of its parent's threads. */
void ph_changes_adopt(void);

/* chroot, setuid and their kin: from then on the process asks the kernel. */
bool ph_changes_stranger(void);

#endif

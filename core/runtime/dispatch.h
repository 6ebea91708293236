/* The border between the engine (sites, patches, stubs, exec, faults: what gets a call here) and the dispatcher
 * (descriptions, layers of rules, settling: what happens to it). */
#ifndef PH_RUNTIME_DISPATCH_H
#define PH_RUNTIME_DISPATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "peephole/abi_control.h"

/* On the way of an answered call: together, so that a program whose own code and data fill the caches loses few lines
 * and pages to it. */
#define PH_HOT __attribute__((hot))
#define PH_HOT_DATA __attribute__((section(".data.hot")))

struct ph_call {
	int64_t a[6];
	int64_t nr;
	int64_t ret;
};

enum ph_verdict {
	PH_PASS,	/* the stub makes the call itself, registers as they came */
	PH_ANSWERED	/* c->ret is the result */
};

/* --- the dispatcher, called by the engine -------------------------------------------------------------- */

/* Once, single-threaded, before any site is patched. 0 or -errno (then nothing is armed). */
int ph_dispatch_init(struct ph_control *control);

/* Whether any enabled rule, or the settling of its pending effects, needs to see this call. Calls it does not want
 * need no patch. Known after ph_dispatch_init. */
bool ph_wants(int64_t nr);

/* Whether no rule has anything to do with the call: it is made as it stands. */
bool ph_passes(const struct ph_call *c);

/* Whether the call could be answered in user space without a lock on anything; then *ret is the result. Of c only the
 * arguments and the number are looked at. To be tried before ph_dispatch, under the same conditions. */
bool ph_answer(const struct ph_call *c, int64_t *ret);

/* Every call that reached C. Never called in a vfork child (see ph_fork_begin). */
enum ph_verdict ph_dispatch(struct ph_call *c);

/* Around the making of a child that gets copies of the descriptors (fork, vfork, posix_spawn, clone without
 * CLONE_FILES). Begin settles everything and marks every description shared; End is called in the parent only.
 * A child that shares the memory (CLONE_VM) must not reach ph_dispatch until it has exec'd; a child with its own
 * copy may: the dispatcher notices by itself (MADV_WIPEONFORK). */
void ph_fork_begin(void);
void ph_fork_end(void);

/* Before exec and exit_group. */
void ph_settle_everything(enum ph_why why);	/* at exec and exit, places too */
void ph_settle_places(enum ph_why why);
void ph_settle_files(enum ph_why why);		/* all but what is kept for streams */

/* Before the program installs a signal handler that may interrupt anything (signals.c defers the others). */
void ph_handler_begin(void);

/* A descriptor that this program was started with, and whose description no other process uses (the launcher, which
 * only waits, may hold it): as if the program had just opened it, if it stands at the beginning of a regular file. Only
 * before the program itself runs. */
void ph_adopt(int64_t fd);

/* Descriptors of this process's own descriptions that an exec now would hand on, as "1,2"; false when there are none,
 * or that can't be said. Everything is settled. */
bool ph_own_descriptors(char *list, size_t room);

/* Descriptors, and files mapped, that came while nobody watched: before the runtime was put into a running program. */
void ph_fds_unknown(void);
void ph_inode_mapped(uint64_t dev, uint64_t ino);

/* Before the program makes a thread; and after ph_dispatch_init in a process that has several. */
void ph_thread_begin(void);

/* Settle everything and let no rule act in this process again. */
void ph_disarm(enum ph_why why);

/* --- the engine, called by the dispatcher -------------------------------------------------------------- */

/* The raw system call; -errno on failure. */
int64_t ph_syscall(int64_t nr, int64_t a0, int64_t a1, int64_t a2, int64_t a3, int64_t a4, int64_t a5);

/* rt_sigaction of the program's: what of the kernel's actions is the engine's stays out of sight. Before it is made with the
 * state held: the program may be about to have a handler for which signals have to be held back. */
int64_t ph_set_action(const int64_t a[6]);
void ph_signals_before(const int64_t a[6]);
uint64_t ph_signals_kept(uint64_t mask);	/* what the kernel keeps of an action's mask */

/* n bytes between the program's memory and ours; -EFAULT on a bad address, with the process none the worse. */
int64_t ph_copy_in(void *to, const void *user_from, size_t n);
int64_t ph_copy_out(void *user_to, const void *from, size_t n);

/* A number that is this thread's alone among the threads of its address space, never 0, low 4 bits 0. */
uint64_t ph_self(void);

/* Private anonymous memory, at start only; NULL when the kernel refuses. */
void *ph_map(size_t bytes);

#endif

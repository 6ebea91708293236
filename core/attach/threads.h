/* Stopping threads, running our code in one of them, and letting them go on as if nothing had been. */
#ifndef PH_ATTACH_THREADS_H
#define PH_ATTACH_THREADS_H

#include "target.h"

/* One thread that stands still in a place where it may be lent to us: not within [busy, busy_end). NULL after saying
 * why there is none. */
struct thread *thread_borrow(struct target *t, uint64_t busy, uint64_t busy_end);
bool thread_can_be_borrowed(const struct thread *th, const struct target *t, uint64_t busy, uint64_t busy_end);

/* While borrowed: a system call, and a function of the runtime; their results in *result. 0, or -1 after saying why.
 * Afterwards the thread stands where it stood. */
int thread_syscall(struct target *t, struct thread *th, long nr, const uint64_t args[6], int64_t *result);
int thread_call(struct target *t, struct thread *th, uint64_t call, uint64_t function, uint64_t argument, uint64_t stack,
		int64_t *result);

/* A process that has just been exec'd, with PTRACE_O_TRACEEXEC: it stays where it is until target_close's caller lets it
 * go by ending. */
int thread_hold(struct target *t, pid_t tid);

/* All of them; 1 when it should be tried again, since one of them makes a process just now, or can't be stopped. */
int threads_stop(struct target *t);

/* They go on; what the stop itself would make them notice (EINTR from calls that don't restart) is undone. Returns when
 * (now_us) the last one went on. */
uint64_t threads_release(struct target *t);

#endif

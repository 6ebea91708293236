/* A rule that faults is contained: the process goes on without it. */
#ifndef PH_RUNTIME_GUARD_H
#define PH_RUNTIME_GUARD_H

#include <stdbool.h>
#include <stdint.h>

struct ph_k;
struct ph_state;

#define PH_FAULTED INT64_MIN	/* no result of a call */

/* run(k, f, a), whose third argument may be a number. */
int64_t ph_guarded(struct ph_k *k, struct ph_state *f, const void *a, const void *run);

/* In a handler of SIGSEGV or SIGBUS, for a fault in our code; `context` is its ucontext as words. True: when the handler
 * returns, the guarded call returns PH_FAULTED. */
bool ph_guard_recover(uint64_t *context);

#endif

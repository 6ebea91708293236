/* Syscall user dispatch: the kernel stops every call that is not made from the runtime's own text by SIGSYS (Linux 5.11). */
#ifndef PH_RUNTIME_TRAP_H
#define PH_RUNTIME_TRAP_H

#include "engine.h"

struct ph_siginfo {		/* as far as SIGSYS fills it in */
	int32_t signo, error, code, pad;
	uint64_t address;
	int32_t nr;
	uint32_t machine;
};

/* From here on the calls of this thread, and of what it makes, are trapped. Once, while it is the only one, when everything
 * else is ready and the handler is installed (ph_engine.trapping, then faults.c). 0 or -errno. */
int ph_trap_start(void);

/* From here on no thread's calls are trapped any more. */
void ph_trap_stop(void);

/* In a handler of SIGSYS: whether the signal was ours. The call goes on in a stub, as a patched one would. */
bool ph_trap_caught(const struct ph_siginfo *info, uint64_t *context);

/* A call that nobody has answered: signal masks must not hold SIGSYS back, and what it makes has to be trapped too. */
void ph_trap_pass(struct ph_frame *f);

#define PH_SIGSYS_BIT (1ull << (SIGSYS - 1))

#endif

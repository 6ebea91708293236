#include "guard.h"

#include "dispatch.h"
#include "numbers.h"

#define UC_RSP 20		/* words of a ucontext */
#define UC_RIP 21
#define CHUNK 64		/* words read at a time */
#define DEEP 2048		/* words: rules and mechanisms use little stack */

extern const uint64_t ph_guard_word;
extern const char ph_guarded_fault[];

bool ph_guard_recover(uint64_t *context)
{
	uint64_t at = context[UC_RSP] & ~7ull, words[CHUNK];

	for (unsigned read = 0; read < DEEP; read += CHUNK, at += sizeof(words)) {
		/* By the kernel: a plain load beyond the end of a stack would be a fault in a fault. */
		uint64_t ours[2] = { (uint64_t)words, sizeof(words) }, theirs[2] = { at, sizeof(words) };
		int64_t n = ph_syscall(PH_NR_process_vm_readv, ph_syscall(PH_NR_getpid, 0, 0, 0, 0, 0, 0), (int64_t)ours, 1,
				       (int64_t)theirs, 1, 0);

		for (unsigned i = 0; n > 0 && i < (uint64_t)n / 8; i++) {
			uint64_t here = at + i * 8;

			if (words[i] != (ph_guard_word ^ (here + 8)))
				continue;
			context[UC_RSP] = here;
			context[UC_RIP] = (uint64_t)ph_guarded_fault;
			return true;
		}
		if (n < (int64_t)sizeof(words))
			return false;
	}
	return false;
}

/* What can be done with one system-call instruction. */
#ifndef PH_SITES_CLASSIFY_H
#define PH_SITES_CLASSIFY_H

#include "flow.h"
#include "peephole/abi_sites.h"

/* Whether the two bytes at `offset` are a system-call instruction that the flow reaches, and nothing else. */
bool site_is_real(const struct flow *flow, uint64_t offset);

/* The return from a signal handler: debuggers and unwinders know it by its bytes, so it is never touched. */
bool site_is_sigreturn(const struct flow *flow, uint64_t offset);

void site_classify(const struct flow *flow, uint64_t offset, struct ph_site *site);

/* Gives every site whose whole call is not a `mov` and a `syscall` padding in reach of a short jump, each its own. */
void site_pads(const struct flow *flow, struct ph_sites *sites);

#endif

/* Attributes that files lack, known to all programs of the tree: see ph_lacked in rule.h. */
#ifndef PH_RUNTIME_ATTRIBUTES_H
#define PH_RUNTIME_ATTRIBUTES_H

#include "layers.h"

extern bool ph_attributes_used;

/* Before a call: what may change a file, or what a path means, ends what was seen of the last one. */
void ph_attributes_before(const struct ph_call *c);
void ph_attributes_forget(void);

void ph_attributes_init(void);

#endif

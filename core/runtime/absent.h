/* Names that folders do not have, known from listings: see ph_absent in rule.h. */
#ifndef PH_RUNTIME_ABSENT_H
#define PH_RUNTIME_ABSENT_H

#include "layers.h"

extern bool ph_absent_used;

/* Before a call: what may change a name or what a name means, or lets others tell of it, makes all of it unknown. */
void ph_absent_before(const struct ph_call *c);
void ph_absent_forget(void);

#endif

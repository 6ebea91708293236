/* State that rules have of the whole process, not of one description. */
#ifndef PH_RUNTIME_PROCESS_H
#define PH_RUNTIME_PROCESS_H

#include "layers.h"

/* Once, after ph_layers_init. 0, or -1 when the states do not fit. */
int ph_process_init(void);

/* Whether a rule handles this call without a description, and not to make one. */
bool ph_process_handles(int64_t nr);

/* A call that a rule handles without a description. It is always answered. */
int64_t ph_process_call(struct ph_call *c);

/* In a fork's child: it is another process, of which nothing is known. */
void ph_process_forget(void);

#endif

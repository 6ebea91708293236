/* Descriptors that leave in a message (SCM_RIGHTS): their descriptions are shared from then on. */
#ifndef PH_RUNTIME_MESSAGES_H
#define PH_RUNTIME_MESSAGES_H

#include "layers.h"

/* Marks shared what the messages of a sendmsg or sendmmsg carry. False when they can't be read: any description may be
 * among it. */
bool ph_messages_share(struct ph_walk *walk, const struct ph_call *call);

#endif

/* What is known of the actions of the process's signals, for rules that ask for it. See rule.h. */
#ifndef PH_RUNTIME_ACTIONS_H
#define PH_RUNTIME_ACTIONS_H

#include <stdbool.h>

void ph_actions_forget(void);
void ph_actions_adopt(void);	/* in a fork's child, which has its parent's actions; before it counts as one of one thread */

#endif

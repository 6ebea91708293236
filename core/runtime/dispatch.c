/* What happens to a call that reached C: the class that calls.def gives it decides what settles; rules with state on
 * the call's description are asked; everything else passes through. */
#include "absent.h"
#include "attributes.h"
#include "classes.h"
#include "examined.h"
#include "naps.h"
#include "owed.h"
#include "process.h"
#include "run.h"

int ph_dispatch_init(struct ph_control *control)
{
	int r = ph_layers_init(control);

	if (r < 0 || ph_n_layers == 0)
		return r;
	r = ph_process_init();
	if (r == 0)
		r = ph_hold_init();
	if (r == 0)
		r = ph_descriptions_init();
	if (r == 0)
		r = ph_pay_init();
	ph_answers_init();
	ph_absent_forget();
	ph_examined_join();
	ph_attributes_init();
	ph_armed = r == 0;
	return r;
}

bool ph_wants(int64_t nr)
{
	if (!ph_armed)
		return false;
	return nr < 0 || nr >= PH_NR_MAX || ph_calls[nr].class != INERT || ph_layers_handle(nr);
}

enum ph_verdict ph_dispatch(struct ph_call *c)
{
	if (!ph_at_work())
		return PH_PASS;
	if (ph_notable.naps && !ph_is_sleep(c->nr))
		ph_naps_end();
	if (ph_absent_used)
		ph_absent_before(c);
	if (ph_examined_rule)
		ph_changes_before(c);
	if (ph_attributes_used)
		ph_attributes_before(c);
	if (ph_notable.closes && c->nr != PH_NR_close)
		ph_fds_may_change();
	if (ph_switched_off())
		return PH_PASS;
	if (ph_owed_any() && !ph_owed_may_wait(c))
		ph_owed_settle(NULL);
	if (c->nr < 0 || c->nr >= PH_NR_MAX) {
		ph_settle_everything(PH_WHY_BLOCKING);
		ph_settle_places(PH_WHY_BLOCKING);
		return PH_PASS;
	}
	switch ((enum call_class)ph_calls[c->nr].class) {
	case INERT:
		if (ph_calls[c->nr].fd_arg >= 0)
			return ph_on_inert(c);
		return ph_process_handles(c->nr) ? ph_answered_by(c, ph_process_call(c)) : PH_PASS;
	case FD:
		if (ph_is_dup(c))
			return ph_on_dup(c, (int32_t)c->a[0], -1);
		return ph_is_of_descriptor(c, ph_description_of((int32_t)c->a[0])) ? PH_PASS : ph_on_fd(c);
	case MAPS:
		return ph_on_mmap(c);
	case DUP:
		return ph_on_dup(c, (int32_t)c->a[0], ph_calls[c->nr].fd_arg2 >= 0 ? (int32_t)c->a[1] : -1);
	case CLOSE:
		return ph_on_close(c);
	case CLOSES:
		return ph_on_close_range(c);
	case OPEN:
		return ph_on_open(c);
	case FORK:
		/* The engine brackets it by ph_fork_begin and ph_fork_end. */
		return PH_PASS;
	case EXEC:
		ph_settle_everything(PH_WHY_EXEC);
		return PH_PASS;
	case EXIT:
		ph_settle_everything(PH_WHY_EXIT);
		if (c->nr == PH_NR_exit_group)
			ph_changes_leave();
		return PH_PASS;
	case WAIT:
		return ph_on_wait(c);
	case ANY:
		return ph_on_any(c);
	}
	return ph_on_any(c);
}

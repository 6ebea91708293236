/* What concerns everything that is pending: forks, threads, exec, exit, and switches that end a rule's work here. */
#include "absent.h"
#include "actions.h"
#include "attributes.h"
#include "classes.h"
#include "examined.h"
#include "interest.h"
#include "keeper.h"
#include "naps.h"
#include "opens.h"
#include "owed.h"
#include "process.h"
#include "run.h"

PH_HOT_DATA bool ph_armed;

void ph_settle_places(enum ph_why why)
{
	struct ph_walk walk;

	if (!ph_place_layers || !ph_armed || ph_hold_forked())
		return;
	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	ph_settle_places_held(&walk, why);
	ph_walk_end(&walk);
}

void ph_settle_everything(enum ph_why why)
{
	struct ph_walk walk;

	if (!ph_armed || ph_hold_forked())
		return;
	if (why == PH_WHY_EXEC || why == PH_WHY_EXIT)
		ph_settle_places(why);
	if (why == PH_WHY_EXEC)
		ph_changes_end();
	if (why == PH_WHY_EXEC && ph_owed_any())	/* exit comes through the dispatcher */
		ph_owed_settle(NULL);
	if (!ph_anything_pending()) {
		if (why == PH_WHY_EXIT || why == PH_WHY_EXEC)
			ph_hits_publish();
		return;
	}
	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	ph_settle_all_held(&walk, why);
	ph_walk_end(&walk);
}

void ph_settle_files(enum ph_why why)
{
	struct ph_walk walk;

	if (!ph_armed || ph_hold_forked() || !ph_files_pending())
		return;
	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	ph_settle_of_held(&walk, ph_file_layers, why);
	ph_walk_end(&walk);
}

/* A fork's child begins with nothing pending: its parent settled before, or keeps what it has. */
static void adopt_child(void)
{
	if (__builtin_expect(!ph_hold_forked(), 1))
		return;
	if (!ph_keeper_leave()) {
		ph_examined_end();
		ph_armed = false;	/* the parent's memory is no place for this child's */
		return;
	}
	ph_owed_adopt();
	ph_process_forget();
	ph_actions_adopt();
	ph_naps_adopt();
	ph_changes_adopt();
	ph_hold_adopt();
}

bool ph_at_work(void)
{
	if (ph_armed)
		adopt_child();
	return ph_armed;
}

void ph_fork_begin(void)
{
	struct ph_walk walk;

	if (!ph_at_work())
		return;
	ph_absent_forget();
	ph_changes_begin(-1);
	ph_attributes_forget();
	ph_owed_blind(1);	/* a child that shares the memory makes its calls unseen */
	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	ph_share_everything(&walk, PH_WHY_FORK);
	ph_window_open();
	ph_walk_end(&walk);
}

void ph_fork_end(void)
{
	if (!ph_armed)
		return;
	ph_window_close();
	ph_owed_blind(-1);
	ph_changes_past();
}

void ph_disarm(enum ph_why why)
{
	struct ph_walk walk;

	if (!ph_at_work())
		return;
	ph_examined_end();
	ph_owed_blind(1);
	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	ph_share_everything(&walk, why);
	ph_armed = false;
	ph_walk_end(&walk);
}

void ph_handler_begin(void)
{
	struct ph_walk walk;

	if (!ph_armed || !ph_hold_mask() || !ph_at_work())
		return;
	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	ph_walk_end(&walk);
}

void ph_thread_begin(void)
{
	struct ph_walk walk;

	if (!ph_at_work())
		return;
	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	ph_layers_drop(&walk, ph_interest_layers, PH_WHY_SHARED);
	if (!ph_hold_threaded())
		ph_settle_places_held(&walk, PH_WHY_SHARED);
	ph_hold_threads();
	ph_walk_end(&walk);
}

/* --- switches ------------------------------------------------------------------------------------------------- */

/* These layers leave this process: what they have pending is settled, and their states are gone. */
static void leave(uint32_t layers)
{
	struct ph_walk walk;

	ph_examined_end();
	if (ph_owed_any())
		ph_owed_settle(NULL);
	ph_walk_begin(&walk, NULL);
	ph_walk_hold(&walk);
	ph_layers_drop(&walk, layers, PH_WHY_SWITCHED_OFF);
	ph_layers_on &= ~layers;
	ph_armed = ph_layers_on != 0;
	ph_walk_end(&walk);
}

/* Throwing a switch in the control page settles what the rule has pending, and ends its work in this process. */
bool ph_switched_off(void)
{
	uint32_t off = 0;

	for (unsigned i = 0; i < ph_n_layers; i++)
		if ((ph_layers_on & (1u << i)) && !__atomic_load_n(ph_layer_switches[i], __ATOMIC_RELAXED))
			off |= 1u << i;
	if (__builtin_expect(__atomic_load_n(&ph_control->master, __ATOMIC_RELAXED) != 1, 0))
		off = ph_layers_on;
	if (__builtin_expect(!off, 1))
		return false;
	for (unsigned i = 0; i < ph_n_layers; i++)
		if (off & (1u << i))
			ph_count_why(i, PH_WHY_SWITCHED_OFF);
	leave(off);
	return !ph_armed;
}

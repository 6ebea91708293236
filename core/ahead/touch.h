/* Bringing one file into the kernel's caches, by calls that change nothing. */
#pragma once
#include <stdint.h>

#include "list.h"

enum ph_touched {
	PH_TOUCHED_NOT,		/* not there, or nothing that may be read ahead */
	PH_TOUCHED_WARM,	/* it was in the caches */
	PH_TOUCHED_COLD,	/* it was not, and is, or is on its way */
};

/* Has the kernel read what is wanted of one file; `room` is how many bytes may be asked for. `asked` is what was.
 *
 * Only directories and regular files of local file systems are opened, and only once that is known of the very inode:
 * opening a FIFO would be seen by its writer, and a device may do anything. */
enum ph_touched ph_touch(const struct ph_wanted *wanted, int64_t room, int64_t *asked);

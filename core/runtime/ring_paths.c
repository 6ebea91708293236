/* Which arguments are paths: the recorder's own table. In a file of its own, since what it includes has other names for
 * things than the runtime. */
#include "../record/shapes.h"

#include "ring.h"

bool ph_ring_paths(unsigned i, unsigned *nr, uint8_t *path, uint8_t *path2)
{
	if (i >= sizeof(call_shapes) / sizeof(call_shapes[0]))
		return false;
	*nr = call_shapes[i].nr;
	*path = (uint8_t)PH_SHAPE_ARG(call_shapes[i].shape, 3);
	*path2 = (uint8_t)PH_SHAPE_ARG(call_shapes[i].shape, 6);
	return true;
}

/* Every struct that crosses between C and Python or into the target: the narrow place, C side.
 * src/peephole/abi.py is the other side. Fixed-width fields, no implicit padding, each size asserted. */
#ifndef PEEPHOLE_ABI_H
#define PEEPHOLE_ABI_H

#include "peephole/abi_control.h"
#include "peephole/abi_record.h"

#endif

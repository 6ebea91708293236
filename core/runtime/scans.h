/* Windows into files that are scanned, mapped by the runtime for k.copy_mapped. */
#ifndef PH_RUNTIME_SCANS_H
#define PH_RUNTIME_SCANS_H

#include "layers.h"

/* The description with this index is no more; and none is. */
void ph_scan_end(unsigned index);
void ph_scans_end(void);

#endif

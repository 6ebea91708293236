/* What the recorder spills: struct ph_record_*. */
#ifndef PEEPHOLE_ABI_RECORD_H
#define PEEPHOLE_ABI_RECORD_H
#endif

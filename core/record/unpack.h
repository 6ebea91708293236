/* From the records of a spill, which are as short as each can be, to rows of one size and the bytes that follow them. */
#ifndef PH_RECORD_UNPACK_H
#define PH_RECORD_UNPACK_H

/* Makes calls.raw and paths.raw of the ring.raw in `folder`; what is cut off at its end is left out. 0 or -errno. */
int ph_unpack(const char *folder);

#endif

/* What the process that reads ahead may do: the kernel holds it to that. */
#pragma once

/* From here on, in every thread, only calls that change nothing: look a path up (O_PATH), open for reading, look at what is
 * open, ask for pages, list, close; wait for own threads and for descriptors, write to descriptor 1, and end. Any other call,
 * an open with another flag among them, kills the process. It can't be undone. Returns 0, or -errno: then nothing holds it. */
int ph_only_look(void);

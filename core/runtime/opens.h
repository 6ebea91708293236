/* The life of a description with state: from its open to where it is shared. */
#ifndef PH_RUNTIME_OPENS_H
#define PH_RUNTIME_OPENS_H

#include "layers.h"

void ph_walk_begin(struct ph_walk *walk, struct ph_description *d);
void ph_walk_end(struct ph_walk *walk);

/* Firmly held, all of the following. Settles d, which is not handled from then on; counted under `why`, or not. */
void ph_share(struct ph_walk *walk, struct ph_description *d, enum ph_why why);
void ph_share_everything(struct ph_walk *walk, enum ph_why why);
void ph_share_counted(struct ph_walk *walk, struct ph_description *d, enum ph_why why);

/* After a handler: whether d has something pending now. */
void ph_mark_pending(struct ph_walk *walk, struct ph_description *d);

bool ph_any_description(const struct ph_description *but);
/* Whether rules about files have something pending; and whether what is pending on streams, if anything is, may stay so during
 * this open. */
bool ph_files_pending(void);
bool ph_open_leaves_streams(const struct ph_call *at);

bool ph_any_file(const struct ph_description *but);	/* with state of a rule about files */

/* What was just opened as fd takes the state from others of this process that name the same file; and keeps its own only
 * where rules may act: a regular file, on a mount that the plan covers for that rule, which no other descriptor of this
 * process names. */
void ph_take_from_others(struct ph_walk *walk, int64_t fd);
void ph_examine(struct ph_walk *walk, struct ph_description *d);

/* fd, the read end of a pipe that nobody else has, comes to rules as if it had just been made. */
void ph_adopt_pipe(int64_t fd);

/* streams.c: whether fd is a TCP socket. */
bool ph_is_stream(int64_t fd);

#endif

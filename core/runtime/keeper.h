/* The keeper, as a program sees it: memory for what is pending that outlives the program, and enough beside it for the
 * keeper to make it good. Without a keeper all of this does nothing. */
#ifndef PH_RUNTIME_KEEPER_H
#define PH_RUNTIME_KEEPER_H

#include "layers.h"

static inline bool ph_kept(void)
{
	return ph_region.head.pid != 0;
}

/* The keeper's memory, opened: a descriptor, or -errno. */
int64_t ph_keeper_memory(void);

/* What is pending lies in memory of our own from now on, and every description is forgotten: in a fork's child, and when
 * the runtime begins anew. False: there is no memory for it. */
bool ph_keeper_leave(void);

/* Calls after which, if they succeed, the process is another user, or has other names for files. The keeper does as it finds in its memory:
 * nobody else may come at that, and names have to mean the same to both. */
bool ph_keeper_ends(int64_t nr);

/* d has something pending: its name, and where its bytes go. Firmly held, before anybody is told. The first time it
 * takes a slot of the keeper's memory. */
void ph_keeper_place(struct ph_walk *walk, struct ph_description *d);

/* After a state was given, or settled: what becomes pending next has to be placed. */
void ph_keeper_unplace(struct ph_description *d);

/* d was opened by this call: its flags, and that it stands at the beginning. */
void ph_keeper_opened(struct ph_description *d, const struct ph_call *call);

/* Names may have changed by a call of this process. */
void ph_keeper_renamed(void);

/* A call of this kind is made on d. */
void ph_keeper_passes(struct ph_description *d, const struct ph_call *call);

/* A settle has written n bytes where the file's position is; `moved`: where that is was not known before. */
void ph_keeper_advance(struct ph_description *d, int64_t n, bool moved);

/* Around a settle: what was pending stays on record until it is made good. True: `end` is to be called. */
bool ph_keeper_begin(struct ph_walk *walk, struct ph_description *d);
void ph_keeper_end(struct ph_description *d);

/* Whether the keeper that holds our state is dead; and, holding it ourselves, ends what it had begun. */
bool ph_keeper_gone(void);
void ph_keeper_clear(struct ph_walk *walk);

/* Does a settle that was interrupted from its beginning, on descriptor fd. 0 or -errno. */
int64_t ph_keeper_again(struct ph_walk *walk, struct ph_description *d, int64_t fd);

/* How many of n bytes that a settle is to append stand in the file already. */
int64_t ph_keeper_appended(const struct ph_description *d, int64_t fd, const uint8_t *bytes, int64_t n);

/* /proc/self/fd/FD, or /proc/PID/fd/FD. */
#define PH_FD_PATH_OF 48
void ph_fd_path_of(char to[PH_FD_PATH_OF], uint64_t pid, int64_t fd);

#endif

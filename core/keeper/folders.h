/* Folders that are watched by inotify. */
#ifndef PH_KEEPER_FOLDERS_H
#define PH_KEEPER_FOLDERS_H

#include <stdbool.h>

#include "peephole/abi_examined.h"

int ph_folders_begin(struct ph_examined *table);	/* 0 or -1 */
int ph_folders_fd(void);

/* The folder of a path from `start`, number `number`: a descriptor that stays the callee's, the path's last part, and the
 * folder's index; it and all folders above it, up to the start, are watched since before they were looked into. -1: it can't
 * be watched, is not there, or a link leads to it. */
int ph_folders_open(const struct ph_start *start, unsigned number, char *path, const char **name, uint32_t *index);

/* What inotify tells until now. False: what is known of any path may be wrong. */
bool ph_folders_hear(void);

/* No folder is held open, which would keep a file system from being unmounted. */
void ph_folders_close(void);

/* Nothing is watched any more. */
void ph_folders_reset(void);

#endif

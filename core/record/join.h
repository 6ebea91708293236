/* Running processes to observe: a process with its descendants, or a cgroup with those below it. */
#ifndef PH_RECORD_JOIN_H
#define PH_RECORD_JOIN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ph_pids {
	uint32_t *pids;
	size_t n, room;
};

void ph_pids_fini(struct ph_pids *pids);
int ph_pids_add(struct ph_pids *pids, uint32_t pid);
/* `root` and everything below it; -ESRCH when it is not there. */
int ph_pids_add_tree(struct ph_pids *pids, pid_t root);
int ph_pids_add_cgroup(struct ph_pids *pids, const char *folder);

#endif

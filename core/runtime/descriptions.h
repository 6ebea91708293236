/* Open file descriptions that rules have state on, and the descriptors that name them. */
#ifndef PH_RUNTIME_DESCRIPTIONS_H
#define PH_RUNTIME_DESCRIPTIONS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "peephole/abi_control.h"
#include "peephole/abi_keeper.h"
#include "rule.h"

#define PH_FDS 4096		/* descriptors from here on are never handled */
#define PH_DESCRIPTIONS 256	/* handled at the same time, at most */
#define PH_BUFFERS 128
#define PH_KEPT_PATH 400	/* bytes; files with longer names are not kept */
#define PH_STATES_MAX 768	/* the states of all rules on one description, together */

/* `word` of a description: bit i says which copy of layer i's state is current; the next that the description was taken from
 * under a trial and is dead; the rest counts commits, so that a late commit fails. */
#define PH_WORD_CURRENT ((1ull << PH_RULES_MAX) - 1)
#define PH_WORD_DEAD (1ull << PH_RULES_MAX)
#define PH_WORD_COMMITS (PH_RULES_MAX + 1)
#define PH_WORD_STEP (1ull << PH_WORD_COMMITS)
_Static_assert(PH_RULES_MAX < 32, "a bit a layer");

struct ph_description {
	_Atomic uint64_t word;
	uint16_t fds;		/* descriptors that name it; 0: free */
	uint16_t fd;		/* one of them */
	uint32_t handled;	/* bit i: layer i has state on it */
	uint16_t index;
	bool identified;	/* dev .. mount below are known */
	bool regular;
	bool plain_connection;	/* known by streams.c */
	uint32_t mount_rules;	/* rules that the mount admits */
	bool unplaced;		/* nothing may become pending before the keeper knows where it goes (keeper.c) */
	uint8_t buffer[PH_RULES_MAX];	/* 1 + index in ph_region.buffers, or 0 */
	uint64_t dev, ino;
	int64_t error;		/* of a settle that no call has reported yet, or 0 */
	_Alignas(64) uint8_t states[2][PH_STATES_MAX];
};

/* What the keeper needs to know of a description in order to settle it when the process is gone. */
struct ph_kept {
	uint64_t named;		/* 1 + the tick at which the path was asked for */
	uint64_t since;		/* the tick at which it got something pending */
	int64_t flags;		/* of open; -1: not known */
	int64_t position;	/* where the first byte that is pending goes */
	uint64_t size, born_ns;	/* of the file, as far as this process has changed it */
	bool moved;		/* position and size are not known */
	bool placed;		/* once, at least */
	int64_t advanced;	/* by the settle in progress */
	int64_t from;		/* what it began with: position, and states */
	uint64_t from_size;
	_Atomic uint64_t settling;
	char path[PH_KEPT_PATH];
	uint64_t before[PH_STATES_MAX / 8];
};

/* What is pending, and who may touch it. In memory of the keeper's, where there is one. */
struct ph_region {
	struct ph_head head;
	struct ph_description descriptions[PH_DESCRIPTIONS];
	struct ph_kept kept[PH_DESCRIPTIONS];
	_Alignas(4096) uint8_t buffers[PH_BUFFERS][PH_BUFFER_MAX];
};

extern struct ph_region ph_region;

struct ph_identity {
	uint64_t dev, ino;
	uint32_t mode, links;
	int64_t size;
	uint64_t rdev;		/* of a device */
	uint64_t born_ns;	/* 0: the file system doesn't say */
};

/* 0 or -errno. */
int64_t ph_identify(int64_t fd, struct ph_identity *out);

/* The same of a path of ours, links followed. */
int64_t ph_identify_path(int64_t path, struct ph_identity *out);

/* The same of a name as open takes it; and of one, a symbolic link not followed. */
int64_t ph_identify_at(int64_t dir, int64_t path, struct ph_identity *out);
int64_t ph_identify_name(int64_t dir, int64_t path, struct ph_identity *out);

int ph_descriptions_init(void);

/* Every description in use has an index below this. */
extern unsigned ph_descriptions_used;

/* The description of fd, or NULL. */
struct ph_description *ph_description_of(int64_t fd);
struct ph_description *ph_description_at(unsigned index);
static inline unsigned ph_description_index(const struct ph_description *d)
{
	return d->index;
}

/* A new description named by fd alone; NULL when none is free. */
struct ph_description *ph_description_new(int64_t fd);

/* In the keeper: fd stands for the descriptors of d, which are another process's; NULL: no longer. */
void ph_stand_in(int64_t fd, const struct ph_description *d);

/* fd stops naming d; freed with its last name. */
void ph_description_unname(struct ph_description *d, int64_t fd);
void ph_description_name(struct ph_description *d, int64_t fd);

/* No descriptor names it any more: it is not handled again. Its memory is reused unless `dead`, when a trial may
 * still be writing to it; that trial gives it back by ph_description_free. */
void ph_description_drop(struct ph_description *d, bool dead);
void ph_description_free(struct ph_description *d);

/* Forget every description without settling: what a fork's child does, whose parent keeps what is pending. */
void ph_descriptions_forget(void);

uint8_t ph_buffer_take(void);		/* 1 + its index, or 0 */
static inline uint8_t *ph_buffer_of(const struct ph_description *d, unsigned layer)
{
	return d && d->buffer[layer] ? ph_region.buffers[d->buffer[layer] - 1] : NULL;
}

/* --- every descriptor of the process, for `alone` ------------------------------------------------------- */
enum ph_fd_kind {
	PH_FD_NONE,		/* closed, or made by no open */
	PH_FD_UNKNOWN, PH_FD_REGULAR, PH_FD_OTHER, PH_FD_EPOLL, PH_FD_NO_EPOLL
};
extern uint8_t ph_fd_kind[PH_FDS];
static inline bool ph_fd_surely_regular(int64_t fd)	/* as far as is known without a look */
{
	return (uint64_t)fd < PH_FDS && ph_fd_kind[fd] == PH_FD_REGULAR;
}
void ph_fd_opened(int64_t fd);
void ph_fd_closed(int64_t fd);
int64_t ph_fd_highest(void);
void ph_fd_closed_range(uint64_t first, uint64_t last);
bool ph_fd_regular(int64_t fd);		/* known to be a regular file; false in doubt */
void ph_fds_unknown(void);		/* descriptors may have come from elsewhere (SCM_RIGHTS, pidfd_getfd) */
/* In a row of closes, whether nothing is open at fd; false in doubt. */
bool ph_fd_unopened(int64_t fd);
void ph_fds_may_change(void);		/* something else than close is called */
void ph_inode_mapped(uint64_t dev, uint64_t ino);
/* Whether no other descriptor and no mapping of this process names the file of d. d must be identified. */
bool ph_fd_alone(const struct ph_description *d);

/* --- which descriptions have something pending ----------------------------------------------------------- */
static inline bool ph_anything_pending(void)
{
	uint64_t any = 0;

#pragma GCC unroll 4
	for (unsigned i = 0; i < PH_DESCRIPTIONS / 64; i++)
		any |= atomic_load_explicit(&ph_region.head.dirty[i], memory_order_relaxed);
	return any != 0;
}
void ph_dirty_set(const struct ph_description *d);
void ph_dirty_clear(const struct ph_description *d);
bool ph_dirty_test(const struct ph_description *d);

#endif

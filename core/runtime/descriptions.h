/* Open file descriptions that rules have state on, and the descriptors that name them. */
#ifndef PH_RUNTIME_DESCRIPTIONS_H
#define PH_RUNTIME_DESCRIPTIONS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "peephole/abi_control.h"
#include "rule.h"

#define PH_FDS 4096		/* descriptors from here on are never handled */
#define PH_DESCRIPTIONS 256	/* handled at the same time, at most */
#define PH_BUFFERS 128
#define PH_STATES_MAX 512	/* the states of all rules on one description, together */

/* `word` of a description: bit i says which copy of layer i's state is current; bit 16 that the description was taken
 * from under a trial and is dead; the rest counts commits, so that a late commit fails. */
#define PH_WORD_CURRENT 0xffffull
#define PH_WORD_DEAD (1ull << 16)
#define PH_WORD_COMMITS 17
#define PH_WORD_STEP (1ull << PH_WORD_COMMITS)
_Static_assert(PH_RULES_MAX <= 16, "a bit a layer");

struct ph_description {
	_Atomic uint64_t word;
	uint16_t fds;		/* descriptors that name it; 0: free */
	uint16_t fd;		/* one of them */
	uint32_t handled;	/* bit i: layer i has state on it */
	uint16_t index;
	bool identified;	/* dev .. mount below are known */
	bool regular;
	uint32_t mount_rules;	/* rules that the mount admits */
	uint64_t dev, ino;
	int64_t error;		/* of a settle that no call has reported yet, or 0 */
	uint8_t *buffer[PH_RULES_MAX];
	_Alignas(64) uint8_t states[2][PH_STATES_MAX];
};

struct ph_identity {
	uint64_t dev, ino;
	uint32_t mode;
	int64_t size;
	uint64_t rdev;		/* of a device */
};

/* 0 or -errno. */
int64_t ph_identify(int64_t fd, struct ph_identity *out);

/* The same of a path of ours, links followed. */
int64_t ph_identify_path(int64_t path, struct ph_identity *out);

/* The same of a name, a symbolic link not followed. */
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

/* fd stops naming d; freed with its last name. */
void ph_description_unname(struct ph_description *d, int64_t fd);
void ph_description_name(struct ph_description *d, int64_t fd);

/* No descriptor names it any more: it is not handled again. Its memory is reused unless `dead`, when a trial may
 * still be writing to it; that trial gives it back by ph_description_free. */
void ph_description_drop(struct ph_description *d, bool dead);
void ph_description_free(struct ph_description *d);

/* Forget every description without settling: what a fork's child does, whose parent keeps what is pending. */
void ph_descriptions_forget(void);

uint8_t *ph_buffer_take(void);

/* --- every descriptor of the process, for `alone` ------------------------------------------------------- */
void ph_fd_opened(int64_t fd);
void ph_fd_closed(int64_t fd);
int64_t ph_fd_highest(void);
void ph_fd_closed_range(uint64_t first, uint64_t last);
bool ph_fd_regular(int64_t fd);		/* known to be a regular file; false in doubt */
void ph_fds_unknown(void);		/* descriptors may have come from elsewhere (SCM_RIGHTS, pidfd_getfd) */
void ph_inode_mapped(uint64_t dev, uint64_t ino);
/* Whether no other descriptor and no mapping of this process names the file of d. d must be identified. */
bool ph_fd_alone(const struct ph_description *d);

/* --- which descriptions have something pending ----------------------------------------------------------- */
extern _Atomic uint64_t ph_dirty[PH_DESCRIPTIONS / 64];
static inline bool ph_anything_pending(void)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < PH_DESCRIPTIONS / 64; i++)
		any |= atomic_load_explicit(&ph_dirty[i], memory_order_relaxed);
	return any != 0;
}
void ph_dirty_set(const struct ph_description *d);
void ph_dirty_clear(const struct ph_description *d);
bool ph_dirty_test(const struct ph_description *d);

#endif

/* What files of the tree's working folders were when the keeper last examined them: one memfd of the keeper's, which every
 * process that the rule acts in has mapped. Only the keeper writes answers there; processes ask for them, and say what
 * they change.
 *
 * An answer holds while
 *   - no process of the tree has begun to change a name of which the keeper does not know yet (begun, drained);
 *   - no process of the tree has changed the file by a descriptor or another name (marks, by its inode);
 *   - inotify has not told of a change in its folder, or of any above it (folders);
 *   - nobody has done what none of that tells (generation). */
#ifndef PEEPHOLE_ABI_EXAMINED_H
#define PEEPHOLE_ABI_EXAMINED_H

#include <stdatomic.h>
#include <stdint.h>

#define PH_EXAMINED_MAGIC 0x4e494d4158454850ull
#define PH_EXAMINED_FILES 65536
#define PH_EXAMINED_SLOTS (2 * PH_EXAMINED_FILES)
#define PH_EXAMINED_PATHS (8u << 20)	/* bytes of all paths */
#define PH_EXAMINED_FOLDERS 8192
#define PH_EXAMINED_MARKS 8192
#define PH_EXAMINED_STARTS 32
#define PH_EXAMINED_CHANGERS 512
#define PH_EXAMINED_FLIGHTS 63		/* of one process at a time; bit 63: more, and it stays so */
#define PH_EXAMINED_PATH 512		/* a path of more bytes is not asked for */
#define PH_MARK_SPOILT 0x80000000u	/* stored to through a mapping: files of this mark are never answered for */

/* A process that changes files. */
struct ph_changer {
	_Atomic uint32_t pid;		/* 0: free */
	uint32_t unused;
	_Atomic uint64_t flights;	/* bit i: one of its threads is in the middle of a change, for all that we know */
};

/* A working folder that paths are asked from. */
struct ph_start {
	_Atomic uint32_t ready;
	uint32_t path, bytes;		/* its name, in `paths` */
	uint32_t unused;
	uint64_t dev, ino;
};

enum ph_wanted {
	PH_UNKNOWN,
	PH_WANTED,	/* somebody has asked in vain */
	PH_REFUSED	/* it is none to be answered for, as long as nothing happens in its folder */
};

/* A file, by its start and its path, which never change; the rest between two steps of `version`, odd meanwhile. */
struct ph_examined_file {
	_Atomic uint32_t version;	/* 0: not there yet */
	_Atomic uint32_t wanted;	/* an enum ph_wanted */
	uint32_t path;			/* in `paths` */
	uint16_t bytes, start;
	uint32_t folder, folder_age;	/* its folder, and folders[folder] then; 0: it could not be watched */
	uint32_t mark, blksize;
	uint64_t generation;		/* 0: nothing is known */
	uint64_t dev, ino;
	int64_t size, blocks;
	int64_t accessed_s, modified_s, changed_s;
	uint32_t accessed_ns, modified_ns, changed_ns;
	uint32_t mode, uid, gid;
	uint64_t unused;
};

struct ph_examined {
	uint64_t magic, size_bytes;
	uint64_t who;			/* a hash of whom the kernel takes the keeper for */
	_Atomic uint64_t generation;
	_Atomic uint64_t changes;	/* of all kinds, as they begin */
	_Atomic uint64_t begun, drained;	/* changes of names; as far as the keeper has seen what inotify tells */
	_Atomic uint64_t alive_ms;	/* CLOCK_MONOTONIC_COARSE */
	_Atomic uint64_t again;		/* how often known files were asked for in vain */
	_Atomic uint32_t n_files, n_paths, n_starts;
	_Atomic uint32_t rules;		/* bit i: rule i of the control page asks */
	_Atomic uint32_t asleep;	/* 1: the keeper looks now and then, and can be woken by SIGURG, which others ignore */
	uint32_t unused;
	uint64_t room[5];
	struct ph_changer changers[PH_EXAMINED_CHANGERS];
	struct ph_start starts[PH_EXAMINED_STARTS];
	_Atomic uint32_t marks[PH_EXAMINED_MARKS];
	_Atomic uint32_t folders[PH_EXAMINED_FOLDERS];	/* how often something has happened there; 0: anywhere */
	_Atomic uint64_t slots[PH_EXAMINED_SLOTS];	/* 1 + a file's index, and what else of its hash has room above; 0: free */
	_Alignas(128) struct ph_examined_file files[PH_EXAMINED_FILES];
	char paths[PH_EXAMINED_PATHS];
};

_Static_assert(sizeof(struct ph_examined_file) == 128, "two lines of the cache");

static inline uint32_t ph_mark_of(uint64_t dev, uint64_t ino)
{
	return (uint32_t)(((dev * 0x9e3779b97f4a7c15ull ^ ino) * 0x9e3779b97f4a7c15ull) >> 32) % PH_EXAMINED_MARKS;
}

/* FNV-1a, of n bytes behind those that gave `seed`. */
static inline uint64_t ph_examined_hash(uint64_t seed, const void *bytes, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		seed = (seed ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3ull;
	return seed;
}
#define PH_EXAMINED_SEED 0xcbf29ce484222325ull

#endif

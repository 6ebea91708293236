/* What statx says of a file, as the kernel lays it out. */
#ifndef PH_RUNTIME_STATX_H
#define PH_RUNTIME_STATX_H

#include <stdint.h>

struct ph_statx {
	uint32_t mask, blksize;
	uint64_t attributes;
	uint32_t nlink, uid, gid;
	uint16_t mode, spare;
	uint64_t ino, size, blocks, attributes_mask;
	struct { int64_t s; uint32_t ns, spare; } atime, btime, ctime, mtime;
	uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
	uint64_t mount, more[13];
};
_Static_assert(sizeof(struct ph_statx) == 256, "struct statx");

/* As st_dev has it. */
static inline uint64_t ph_device(uint64_t major, uint64_t minor)
{
	return (major & 0xfffff000) << 32 | (major & 0xfff) << 8 | (minor & 0xffffff00) << 12 | (minor & 0xff);
}

static inline uint64_t ph_statx_dev(const struct ph_statx *st)
{
	return ph_device(st->dev_major, st->dev_minor);
}

#endif

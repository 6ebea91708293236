#define _GNU_SOURCE
#include "touch.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#define LISTS_MOST 4096		/* calls for one directory */
#define LIST_BYTES 32768

#ifndef SYS_cachestat
#define SYS_cachestat 451	/* Linux 6.5 */
#endif
struct range {
	uint64_t off, len;
};
struct cached {
	uint64_t cache, dirty, writeback, evicted, recently_evicted;
};

/* How often this thread has waited for something, such as the disk; that others took its CPU does not count. */
static long waits(void)
{
	struct rusage used;

	getrusage(RUSAGE_THREAD, &used);
	return used.ru_nvcsw;
}

/* Whether a file system is one of this machine's disks: an open elsewhere would be a message to somebody. */
static bool local(int fd, dev_t dev)
{
	static _Thread_local dev_t known_dev;
	static _Thread_local int known;		/* 0: of no device yet; 1: it is local; -1: it is not */
	struct statfs fs;

	if (known && known_dev == dev)
		return known > 0;
	if (fstatfs(fd, &fs) < 0)
		return false;
	known_dev = dev;
	/* As unsigned: f_type is a signed word, and btrfs's number is negative in 32 bits. */
	switch ((uint32_t)fs.f_type) {
	case EXT4_SUPER_MAGIC:
	case XFS_SUPER_MAGIC:
	case (uint32_t)BTRFS_SUPER_MAGIC:
	case (uint32_t)F2FS_SUPER_MAGIC:
		known = 1;
		break;
	default:
		known = -1;
	}
	return known > 0;
}

/* Opens for reading what `inode`, an O_PATH descriptor, names; -1 when that may not be. */
static int open_again(int inode, int flags)
{
	char name[32];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", inode);
	return openat(AT_FDCWD, name, flags | O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* Whether the first bytes of a file are in the page cache; -1 where the kernel does not say. */
static int in_cache(int fd, int64_t bytes)
{
	struct range range = { 0, (uint64_t)bytes };
	struct cached cached;

	if (syscall(SYS_cachestat, fd, &range, &cached, 0) == 0)
		return cached.cache * 4096 >= (uint64_t)bytes;
	return -1;
}

static enum ph_touched touch_file(int inode, int64_t bytes, bool waited, int64_t *asked)
{
	enum ph_touched touched = waited ? PH_TOUCHED_COLD : PH_TOUCHED_WARM;
	int fd = open_again(inode, 0), cached;	/* asking for pages touches no access time, reading them would */

	if (fd < 0)
		return touched;
	cached = in_cache(fd, bytes);
	if (cached <= 0 && readahead(fd, 0, (size_t)bytes) == 0) {
		*asked = bytes;
		touched = cached == 0 ? PH_TOUCHED_COLD : touched;
	}
	close(fd);
	return touched;
}

static void touch_directory(int inode)
{
	static _Thread_local char entries[LIST_BYTES];
	int fd = open_again(inode, O_DIRECTORY | O_NOATIME);

	if (fd < 0)
		return;
	for (int i = 0; i < LISTS_MOST && syscall(SYS_getdents64, fd, entries, sizeof(entries)) > 0; i++)
		;
	close(fd);
}

enum ph_touched ph_touch(const struct ph_wanted *wanted, int64_t room, int64_t *asked)
{
	int64_t bytes = wanted->bytes;
	long before = waits();
	int inode = openat(AT_FDCWD, wanted->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	enum ph_touched touched = PH_TOUCHED_NOT;
	struct stat st;
	bool waited;

	*asked = 0;
	if (inode < 0)
		return touched;
	waited = waits() != before;
	if (fstat(inode, &st) == 0 && local(inode, st.st_dev)) {
		touched = waited ? PH_TOUCHED_COLD : PH_TOUCHED_WARM;
		bytes = bytes < st.st_size ? bytes : st.st_size;
		bytes = bytes < room ? bytes : room;
		if (S_ISREG(st.st_mode) && bytes > 0) {
			touched = touch_file(inode, bytes, waited, asked);
		} else if (S_ISDIR(st.st_mode) && wanted->kind == 'd') {
			touch_directory(inode);
			touched = waits() != before ? PH_TOUCHED_COLD : touched;
		}
	}
	close(inode);
	return touched;
}

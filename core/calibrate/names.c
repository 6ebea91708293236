/* Prices of calls that walk a path, and of the ways to save a file. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "bench.h"

static int run_open_close(struct bench *b, long flags)
{
	int fd = open(b->file, flags | O_CLOEXEC);

	return fd < 0 ? -errno : ph_result(close(fd));
}

static int run_open_absent(struct bench *b, long flags)
{
	return ph_fails(open(b->absent, flags), ENOENT, ENOENT);
}

static int run_stat(struct bench *b, long flags)
{
	struct stat st;

	return ph_result(fstatat(AT_FDCWD, b->file, &st, flags));
}

static int run_access(struct bench *b, long mode)
{
	return ph_result(access(b->file, mode));
}

static int run_chmod(struct bench *b, long mode)
{
	return ph_result(chmod(b->file, mode));
}

static int run_getxattr(struct bench *b, long arg)
{
	(void)arg;
	return ph_fails(getxattr(b->file, "user.peephole", b->bytes, 64), ENODATA, EOPNOTSUPP);
}

/* The next of many files: a program saves one after the other, and each has long been on the disk. */
static const char *next_path(struct bench *b)
{
	snprintf(b->other, sizeof(b->other), "%s/%d", b->folder, b->turn++ % MANY);
	return b->other;
}

/* The same bytes over a file, two ways: truncate_in_place is about the difference. */
static int overwrite(struct bench *b, const char *path, long truncating)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | (truncating ? O_TRUNC : 0));
	int r;

	if (fd < 0)
		return -errno;
	r = ph_result(write(fd, b->bytes, SAVE_BYTES));
	if (!r && !truncating)
		r = ph_result(ftruncate(fd, SAVE_BYTES));
	close(fd);
	return r;
}

static int run_overwrite(struct bench *b, long truncating)
{
	return overwrite(b, next_path(b), truncating);
}

/* One file again and again: what was written last is still on its way to the disk. */
static int run_overwrite_again(struct bench *b, long truncating)
{
	return overwrite(b, b->file, truncating);
}

static int make(struct bench *b, const char *path, int flags)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = ph_result(write(fd, b->bytes, SAVE_BYTES));
	close(fd);
	return r;
}

static int make_many(struct bench *b)
{
	int i, r;

	b->turn = 0;
	for (i = 0; i < MANY; i++) {
		r = make(b, next_path(b), 0);
		if (r)
			return r;
	}
	return ph_result(syncfs(b->fd));
}

/* The pair that exchange_rename is about. */
static int run_rename(struct bench *b, long exchange)
{
	int r = make(b, b->absent, O_EXCL);

	if (r)
		return r;
	r = ph_result(renameat2(AT_FDCWD, b->absent, AT_FDCWD, next_path(b), exchange ? RENAME_EXCHANGE : 0));
	if (r || exchange)
		unlink(b->absent);
	return r;
}

/* What reuse_inode makes an overwriting in place of. */
static int run_unlink_create(struct bench *b, long arg)
{
	const char *path = next_path(b);

	(void)arg;
	if (unlink(path))
		return -errno;
	return make(b, path, 0);
}

const struct op ph_name_ops[] = {
	{ "open_close", 64, NULL, run_open_close, O_RDONLY, 0 },
	{ "open_absent", 64, NULL, run_open_absent, O_RDONLY, 0 },
	{ "stat", 64, NULL, run_stat, 0, 0 },
	{ "lstat", 64, NULL, run_stat, AT_SYMLINK_NOFOLLOW, 0 },
	{ "access", 64, NULL, run_access, R_OK, 0 },
	{ "chmod", 64, NULL, run_chmod, 0600, 0 },
	{ "getxattr_absent", 64, NULL, run_getxattr, 0, 0 },
	{ "overwrite_truncating", MANY, make_many, run_overwrite, 1, 0 },
	{ "overwrite_in_place", MANY, make_many, run_overwrite, 0, 0 },
	{ "overwrite_again", 16, ph_fill_file, run_overwrite_again, 1, 0 },
	{ "rename_over", MANY, make_many, run_rename, 0, 0 },
	{ "rename_exchange", MANY, make_many, run_rename, 1, 0 },
	{ "unlink_create", MANY, make_many, run_unlink_create, 0, 0 },
	{ 0 },
};

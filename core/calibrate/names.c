/* Prices of calls that walk a path, and of the ways to save a file. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "bench.h"

#define LARGE_BYTES 32768

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

/* As a listing asks: both attributes after a look at the file. */
static int run_look_and_ask(struct bench *b, long arg)
{
	struct statx st;
	int r = ph_result(statx(AT_FDCWD, b->file, AT_SYMLINK_NOFOLLOW, STATX_MODE | STATX_MTIME, &st));

	(void)arg;
	r = r < 0 ? r : ph_fails(lgetxattr(b->file, "security.selinux", b->bytes, 64), ENODATA, EOPNOTSUPP);
	return r < 0 ? r : ph_fails(getxattr(b->file, "system.posix_acl_access", NULL, 0), ENODATA, EOPNOTSUPP);
}

/* The next of many files: a program saves one after the other, and each has long been on the disk. */
static const char *next_path(struct bench *b)
{
	snprintf(b->next, sizeof(b->next), "%s/%d", b->folder, b->turn++ % MANY);
	return b->next;
}

static int save(struct bench *b, const char *path, int flags, long n)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = ph_result(write(fd, b->bytes, n));
	close(fd);
	return r;
}

/* A file that has long been on the disk gets as many bytes, and is emptied first. */
static int run_overwrite(struct bench *b, long n)
{
	return save(b, next_path(b), O_TRUNC, n);
}

static int make_one(struct bench *b)
{
	b->turn = 0;
	return save(b, next_path(b), O_CREAT, SAVE_BYTES);
}

/* One file again and again: what was written last is still on its way to the disk. */
static int run_overwrite_again(struct bench *b, long n)
{
	b->turn = 0;
	return save(b, next_path(b), O_TRUNC, n);
}

/* A file that nobody else has open: with two descriptions of one file rules leave it alone. */
static int run_opened(struct bench *b, long flags)
{
	int fd = open(b->next, flags | O_CLOEXEC);

	return fd < 0 ? -errno : ph_result(close(fd));
}

/* What reuse_inode makes of the removal and the creation of a file. */
static int run_overwrite_in_place(struct bench *b, long n)
{
	return save(b, next_path(b), 0, n);
}

static int make_many(struct bench *b, long n)
{
	int i, r;

	b->turn = 0;
	for (i = 0; i < MANY; i++) {
		r = save(b, next_path(b), O_CREAT, n);
		if (!r)
			r = ph_result(truncate(b->next, n));
		if (r)
			return r;
	}
	return ph_result(syncfs(b->fd));
}

static int make_small(struct bench *b)
{
	return make_many(b, SAVE_BYTES);
}

static int make_large(struct bench *b)
{
	return make_many(b, LARGE_BYTES);
}

/* Saved beside the old file and renamed over it: exchange_rename has another way. */
static int run_rename(struct bench *b, long n)
{
	int r = save(b, b->absent, O_CREAT | O_EXCL, n);

	return r ? r : ph_result(rename(b->absent, next_path(b)));
}

/* One file again and again: what was written last is still on its way to the disk. */
static int run_rename_again(struct bench *b, long n)
{
	b->turn = 0;
	return run_rename(b, n);
}

/* What reuse_inode makes an overwriting in place of. */
static int run_unlink_create(struct bench *b, long arg)
{
	const char *path = next_path(b);

	(void)arg;
	if (unlink(path))
		return -errno;
	return save(b, path, O_CREAT, SAVE_BYTES);
}

const struct op ph_name_ops[] = {
	{ "open_close", 64, NULL, run_open_close, O_RDONLY, 0 },
	{ "opened", 64, make_one, run_opened, O_RDWR, 0 },
	{ "open_absent", 64, NULL, run_open_absent, O_RDONLY, 0 },
	{ "stat", 64, NULL, run_stat, 0, 0 },
	{ "lstat", 64, NULL, run_stat, AT_SYMLINK_NOFOLLOW, 0 },
	{ "access", 64, NULL, run_access, R_OK, 0 },
	{ "chmod", 64, NULL, run_chmod, 0600, 0 },
	{ "getxattr_absent", 64, NULL, run_getxattr, 0, 0 },
	{ "getxattr_looked", 64, NULL, run_look_and_ask, 0, 2 },
	{ "overwrite_4096", MANY, make_small, run_overwrite, SAVE_BYTES, 0 },
	{ "overwrite_32768", MANY, make_large, run_overwrite, LARGE_BYTES, 0 },
	{ "overwrite_again_4096", 16, make_one, run_overwrite_again, SAVE_BYTES, 0 },
	{ "overwrite_in_place", MANY, make_small, run_overwrite_in_place, SAVE_BYTES, 0 },
	{ "rename_over", MANY, make_small, run_rename, SAVE_BYTES, 0 },
	{ "rename_again", 16, make_one, run_rename_again, SAVE_BYTES, 0 },
	{ "unlink_create", MANY, make_small, run_unlink_create, 0, 0 },
	{ 0 },
};

/* Prices of calls on an open file. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include "bench.h"

static int empty_file(struct bench *b)
{
	if (ftruncate(b->fd, 0))
		return -errno;
	return ph_result(lseek(b->fd, 0, SEEK_SET));
}

int ph_fill_file(struct bench *b)
{
	return ph_result(pwrite(b->fd, b->bytes, PIECE_MAX, 0));
}

/* As programs read: one piece behind the other, of a file that is in memory. */
static int begin_of_file(struct bench *b)
{
	long at;

	for (at = lseek(b->fd, 0, SEEK_END); at >= 0 && at < FILE_BYTES; at += PIECE_MAX)
		if (pwrite(b->fd, b->bytes, PIECE_MAX, at) < 0)
			return -errno;
	return ph_result(lseek(b->fd, 0, SEEK_SET));
}

static int run_read(struct bench *b, long n)
{
	return ph_result(read(b->fd, b->bytes, n));
}

static int run_write(struct bench *b, long n)
{
	return ph_result(write(b->fd, b->bytes, n));
}

static int run_pread(struct bench *b, long n)
{
	return ph_result(pread(b->fd, b->bytes, n, 0));
}

static int run_fsync(struct bench *b, long n)
{
	if (pwrite(b->fd, b->bytes, n, 0) < 0)
		return -errno;
	return ph_result(fsync(b->fd));
}

static int run_fstat(struct bench *b, long arg)
{
	struct stat st;

	(void)arg;
	return ph_result(fstat(b->fd, &st));
}

static int run_lseek(struct bench *b, long arg)
{
	return ph_result(lseek(b->fd, arg, SEEK_CUR));
}

static int run_getfl(struct bench *b, long command)
{
	return ph_result(fcntl(b->fd, (int)command));
}

static int run_tcgets(struct bench *b, long arg)
{
	struct termios t;

	(void)arg;
	return ph_fails(ioctl(b->fd, TCGETS, &t), ENOTTY, EINVAL);
}

/* Two calls: a lock and its end. */
static int run_lock(struct bench *b, long arg)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = arg, .l_len = 16 };

	if (fcntl(b->fd, F_SETLK, &lock))
		return -errno;
	lock.l_type = F_UNLCK;
	return ph_result(fcntl(b->fd, F_SETLK, &lock));
}

/* One copy of the piece stands for 16 rounds of a loop with 4 KB. */
static int run_copy_range(struct bench *b, long n)
{
	off_t from = 0, to = 0;

	return ph_result(copy_file_range(b->fd, &from, b->other_fd, &to, n, 0));
}

static int fill_scanned(struct bench *b)
{
	long at = b->scanned ? SCAN_BYTES : lseek(b->scan_fd, 0, SEEK_END);

	for (; at >= 0 && at < SCAN_BYTES; at += PIECE_MAX)
		if (pwrite(b->scan_fd, b->bytes, PIECE_MAX, at) < 0)
			return -errno;
	return 0;
}

/* One block after the other, to the end, and from the beginning again. */
static int run_scan(struct bench *b, long n)
{
	long at = b->scanned;

	b->scanned = (at + n) % SCAN_BYTES;
	return ph_result(pread(b->scan_fd, b->bytes, n, at));
}

/* Calls on a device, which no rule acts on: each lets them pass. */
static int run_passed(struct bench *b, long n)
{
	if (write(b->null_fd, b->bytes, n) < 0 || read(b->null_fd, b->bytes, n) < 0)
		return -errno;
	return ph_result(lseek(b->null_fd, 0, SEEK_CUR));
}

static int run_map(struct bench *b, long n)
{
	volatile char *at = mmap(NULL, n, PROT_READ, MAP_PRIVATE, b->fd, 0);
	long done;

	if (at == MAP_FAILED)
		return -errno;
	for (done = 0; done < n; done += 4096)
		(void)at[done];
	return ph_result(munmap((void *)at, n));
}

static int run_close_unopened(struct bench *b, long fd)
{
	(void)b;
	return ph_fails(syscall(SYS_close, fd), EBADF, EBADF);
}

const struct op ph_file_ops[] = {
	{ "passed", 256, NULL, run_passed, 64, 3 },
	{ "write_64", FILE_BYTES / 64, empty_file, run_write, 64, 0 },
	{ "write_512", 256, empty_file, run_write, 512, 0 },
	{ "write_2048", FILE_BYTES / 2048, empty_file, run_write, 2048, 0 },
	{ "write_4096", 64, empty_file, run_write, 4096, 0 },
	{ "write_65536", 8, empty_file, run_write, 65536, 0 },
	{ "read_64", FILE_BYTES / 64, begin_of_file, run_read, 64, 0 },
	{ "read_2048", FILE_BYTES / 2048, begin_of_file, run_read, 2048, 0 },
	{ "read_4096", FILE_BYTES / 4096, begin_of_file, run_read, 4096, 0 },
	{ "pread_4096", 64, ph_fill_file, run_pread, 4096, 0 },
	{ "scan_8192", 256, fill_scanned, run_scan, 8192, 0 },
	{ "pread_16384", 32, ph_fill_file, run_pread, 16384, 0 },
	{ "pread_65536", 8, ph_fill_file, run_pread, 65536, 0 },
	{ "map_16384", 16, ph_fill_file, run_map, 16384, 0 },
	{ "copy_range_4096", 8, ph_fill_file, run_copy_range, PIECE_MAX, PIECE_MAX / 4096 },
	{ "fsync", 1, NULL, run_fsync, 512, 0 },
	{ "fstat", 256, NULL, run_fstat, 0, 0 },
	{ "lseek", 1024, NULL, run_lseek, 0, 0 },
	{ "fcntl_getfl", 1024, NULL, run_getfl, F_GETFL, 0 },
	{ "fcntl_lock", 64, NULL, run_lock, 1 << 30, 2 },
	{ "ioctl_tcgets", 1024, NULL, run_tcgets, 0, 0 },
	{ "close_unopened", 1024, NULL, run_close_unopened, 1 << 19, 0 },
	{ 0 },
};

/* What the prices are measured with: a file and its neighbours, pipes, two connections, a region of memory. */
#ifndef PH_CALIBRATE_BENCH_H
#define PH_CALIBRATE_BENCH_H

#include <errno.h>

#define NAME_BYTES 4096
#define PIECE_MAX 65536
#define FILE_BYTES (4L * PIECE_MAX)	/* of the file that is read and written in pieces */
#define SCAN_BYTES (8L << 20)	/* of the file that is scanned: more than a rule maps at once */
#define SAVE_BYTES 4096		/* what a save of a file writes, where no other size is said */
#define REGION_BYTES (64L << 20)
#define MANY 64			/* files that are saved in turn */
#define WORK_BYTES (64 << 10)

struct bench {
	char folder[NAME_BYTES];
	char file[NAME_BYTES + 16];
	char other[NAME_BYTES + 16];
	char absent[NAME_BYTES + 16];
	char next[NAME_BYTES + 16];	/* one of the many */
	char *bytes;
	int fd, other_fd, scan_fd, null_fd;
	int pipe[2], pipe2[2];
	int near[2], far[2];	/* two loopback connections: sent into [0], received from [1] */
	int epoll;
	char *region;		/* reserved memory that the heap of heap_grow grows into */
	long grown;
	char *work;		/* of ph_work() */
	long scanned;		/* where in the scanned file the next block is */
	int turn;		/* which of the many files is next */
};

/* One price. `per`: how many calls one run stands for, 0 for one. */
struct op {
	const char *name;
	int batch;
	int (*prepare)(struct bench *b);	/* before each batch, not timed; may be NULL */
	int (*run)(struct bench *b, long arg);
	long arg;
	int per;
};

static inline int ph_result(long r)
{
	return r < 0 ? -errno : 0;
}

/* For calls that fail, and are priced for failing. */
static inline int ph_fails(long r, int error, int other)
{
	return r < 0 && (errno == error || errno == other) ? 0 : r < 0 ? -errno : -EPROTO;
}

extern const struct op ph_file_ops[], ph_name_ops[], ph_socket_ops[], ph_memory_ops[];

/* What a program does between two calls, over WORK_BYTES of memory. */
void ph_work(char *memory);

int ph_fill_file(struct bench *b);
int ph_socket_init(struct bench *b);
int ph_memory_init(struct bench *b);

#endif

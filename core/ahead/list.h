/* What a program is going to read, in its order. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct ph_wanted {
	const char *path;
	int64_t bytes;		/* that it reads, from the file's beginning; 0: it only looks at the inode */
	char kind;		/* 'f' anything but a directory that it lists, which is 'd' */
};

struct ph_list {
	struct ph_wanted *wanted;
	size_t n;
};

/* Reads a list: records "KIND BYTES PATH", each ended by a zero byte. A record that is none is left out.
 * Returns 0, or -errno; the list stays until the process ends. */
int ph_list_read(const char *path, struct ph_list *out);

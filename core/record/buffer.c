#include "buffer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int ph_spill_file_init(struct ph_spill_file *file, int folder, const char *name)
{
	file->used = 0;
	file->buffer = malloc(PH_BUFFER_BYTES);
	if (!file->buffer)
		return -ENOMEM;
	file->fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return file->fd < 0 ? -errno : 0;
}

void ph_spill_file_fini(struct ph_spill_file *file)
{
	free(file->buffer);
	if (file->fd >= 0)
		close(file->fd);
	file->buffer = NULL;
	file->fd = -1;
}

int ph_write_all(int fd, const void *bytes, size_t n)
{
	const char *at = bytes;

	while (n) {
		ssize_t wrote = write(fd, at, n);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			return wrote ? -errno : -EIO;
		at += wrote;
		n -= wrote;
	}
	return 0;
}

int ph_spill_file_flush(struct ph_spill_file *file)
{
	int err = file->used ? ph_write_all(file->fd, file->buffer, file->used) : 0;

	file->used = 0;
	return err;
}

int ph_spill_file_add(struct ph_spill_file *file, const void *bytes, size_t n)
{
	int err = file->used + n > PH_BUFFER_BYTES ? ph_spill_file_flush(file) : 0;

	if (err)
		return err;
	if (n > PH_BUFFER_BYTES)
		return ph_write_all(file->fd, bytes, n);
	memcpy(file->buffer + file->used, bytes, n);
	file->used += n;
	return 0;
}

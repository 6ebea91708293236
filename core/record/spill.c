#include "spill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peephole/abi_record.h"

#define BUFFER_BYTES (1u << 20)

static int file_init(struct ph_spill_file *file, int folder, const char *name)
{
	file->used = 0;
	file->buffer = malloc(BUFFER_BYTES);
	if (!file->buffer)
		return -ENOMEM;
	file->fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return file->fd < 0 ? -errno : 0;
}

static void file_fini(struct ph_spill_file *file)
{
	free(file->buffer);
	if (file->fd >= 0)
		close(file->fd);
	file->buffer = NULL;
	file->fd = -1;
}

static int write_all(int fd, const void *bytes, size_t n)
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

static int file_flush(struct ph_spill_file *file)
{
	int err = write_all(file->fd, file->buffer, file->used);

	file->used = 0;
	return err;
}

/* Room for n bytes in the buffer; n is far below BUFFER_BYTES (a record is at most 64 KiB). */
static void *file_room(struct ph_spill *spill, struct ph_spill_file *file, size_t n)
{
	void *room;

	if (file->used + n > BUFFER_BYTES && !spill->err)
		spill->err = file_flush(file);
	if (spill->err)
		return NULL;
	room = file->buffer + file->used;
	file->used += n;
	return room;
}

int ph_spill_init(struct ph_spill *spill, const char *folder)
{
	int err;

	*spill = (struct ph_spill){ .folder = -1, .calls.fd = -1, .paths.fd = -1, .events.fd = -1 };
	spill->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (spill->folder < 0)
		return -errno;
	err = file_init(&spill->calls, spill->folder, "calls.raw");
	if (!err)
		err = file_init(&spill->paths, spill->folder, "paths.raw");
	if (!err)
		err = file_init(&spill->events, spill->folder, "events.raw");
	return err;
}

void ph_spill_fini(struct ph_spill *spill)
{
	file_fini(&spill->calls);
	file_fini(&spill->paths);
	file_fini(&spill->events);
	if (spill->folder >= 0)
		close(spill->folder);
	spill->folder = -1;
}

/* One path without its NUL; len 0 is "no path". */
static const unsigned char *spill_path(struct ph_spill *spill, const unsigned char *path, uint32_t len)
{
	void *room;

	if (len > 1) {
		room = file_room(spill, &spill->paths, len - 1);
		if (room)
			memcpy(room, path, len - 1);
	}
	return path + len;
}

int ph_spill_call(void *context, const void *record, uint32_t len)
{
	struct ph_spill *spill = context;
	size_t fixed = len < PH_CALL_BYTES ? len : PH_CALL_BYTES;
	unsigned char *room = file_room(spill, &spill->calls, PH_CALL_BYTES);
	const struct ph_call *call = record;
	const unsigned char *path = (const unsigned char *)record + PH_CALL_BYTES;

	if (!room)
		return spill->err;
	memcpy(room, record, fixed);
	memset(room + fixed, 0, PH_CALL_BYTES - fixed);
	spill->n_calls++;
	if (call->path_len || call->path2_len)
		spill_path(spill, spill_path(spill, path, call->path_len), call->path2_len);
	return spill->err;
}

int ph_spill_event(void *context, const void *record, uint32_t len)
{
	struct ph_spill *spill = context;
	size_t padded = (len + 7) & ~7ul;
	unsigned char *room = file_room(spill, &spill->events, padded);

	if (!room)
		return spill->err;
	memcpy(room, record, len);
	memset(room + len, 0, padded - len);
	return 0;
}

int ph_spill_flush(struct ph_spill *spill)
{
	if (!spill->err)
		spill->err = file_flush(&spill->calls);
	if (!spill->err)
		spill->err = file_flush(&spill->paths);
	if (!spill->err)
		spill->err = file_flush(&spill->events);
	return spill->err;
}

int ph_spill_text(struct ph_spill *spill, const char *name, const char *text)
{
	int fd = openat(spill->folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600), err;

	if (fd < 0)
		return -errno;
	err = write_all(fd, text, strlen(text));
	close(fd);
	return err;
}

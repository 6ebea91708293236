#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peephole/abi_record.h"
#include "spill.h"

struct unpacking {
	struct ph_spill_file calls, paths;
	int err;
};

static void add(struct unpacking *to, struct ph_spill_file *file, const void *bytes, size_t n)
{
	if (n && !to->err)
		to->err = ph_spill_file_add(file, bytes, n);
}

/* The row of a record of `len` bytes; where the bytes that belong to it begin, NULL: there are none. */
static const unsigned char *row_of(const unsigned char *record, uint32_t len, struct ph_call *row)
{
	const unsigned char *at = record + PH_CALL_ARGS_AT, *end = record + len;
	size_t args;

	memcpy(row, record, PH_CALL_ARGS_AT);
	if (row->flags & PH_CALL_TIMED) {
		memcpy(row, record, len < PH_CALL_BYTES ? len : PH_CALL_BYTES);
		return record + PH_CALL_BYTES;
	}
	args = row->flags & PH_CALL_BRIEF ? sizeof(struct ph_file) + sizeof(struct ph_lengths) :
	       row->flags & PH_CALL_FILE ? sizeof(struct ph_file) : 0;
	if (args > (size_t)(end - at))
		return NULL;
	memcpy(&row->file, at, args);
	at += args;
	args = row->flags & PH_CALL_BRIEF ? row->stack_len : (size_t)(end - at);
	row->stack_len = 0;
	if (args > (size_t)(end - at) || args > sizeof(row->args))
		return NULL;
	memcpy(row->args, at, args);
	return row->flags & PH_CALL_BRIEF ? at + args : NULL;
}

static void unpack_one(struct unpacking *to, const unsigned char *record, uint32_t cpu)
{
	struct ph_call row = { 0 };
	uint32_t len = ((const struct ph_call *)record)->len;
	const unsigned char *at = row_of(record, len, &row);

	row.cpu = cpu;
	row.flags &= ~PH_CALL_BRIEF;
	if (!at || (size_t)(at - record) + row.path_len + row.path2_len + row.address_len > len)
		row.path_len = row.path2_len = row.address_len = 0;
	add(to, &to->calls, &row, sizeof(row));
	/* A path's length counts its NUL, which is not kept; 0 is "no path". */
	add(to, &to->paths, at, row.path_len ? row.path_len - 1 : 0);
	at += row.path_len;
	add(to, &to->paths, at, row.path2_len ? row.path2_len - 1 : 0);
	at += row.path2_len;
	add(to, &to->paths, at, row.address_len);
}

static void unpack_all(struct unpacking *to, const unsigned char *at, size_t bytes)
{
	const unsigned char *end = at + bytes;

	while (!to->err && (size_t)(end - at) >= sizeof(struct ph_block)) {
		struct ph_block block;
		const unsigned char *until;

		memcpy(&block, at, sizeof(block));
		at += sizeof(block);
		until = block.bytes <= (size_t)(end - at) ? at + block.bytes : end;
		while (until - at >= PH_CALL_ARGS_AT) {
			uint16_t len = ((const struct ph_call *)at)->len;

			if (len < PH_CALL_ARGS_AT || len > until - at)
				break;
			unpack_one(to, at, block.cpu);
			at += len;
		}
		at = until;
	}
}

static int unpack_in(int folder)
{
	struct unpacking to = { .calls.fd = -1, .paths.fd = -1 };
	int fd = openat(folder, "ring.raw", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	void *bytes = NULL;
	struct stat st;

	if (fd < 0)
		return -errno;
	to.err = fstat(fd, &st) ? -errno : ph_spill_file_init(&to.calls, folder, "calls.raw");
	if (!to.err)
		to.err = ph_spill_file_init(&to.paths, folder, "paths.raw");
	if (!to.err && st.st_size) {
		bytes = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
		to.err = bytes == MAP_FAILED ? -errno : 0;
	}
	if (!to.err && bytes) {
		unpack_all(&to, bytes, st.st_size);
		munmap(bytes, st.st_size);
	}
	if (!to.err)
		to.err = ph_spill_file_flush(&to.calls);
	if (!to.err)
		to.err = ph_spill_file_flush(&to.paths);
	ph_spill_file_fini(&to.calls);
	ph_spill_file_fini(&to.paths);
	close(fd);
	return to.err;
}

int ph_unpack(const char *folder)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = unpack_in(fd);
	close(fd);
	return err;
}

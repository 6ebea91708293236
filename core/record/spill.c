#include "spill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peephole/abi_record.h"
#include "unwind.h"

/* Room for n bytes in the buffer; n is far below PH_BUFFER_BYTES (a record is at most 64 KiB). */
static void *file_room(struct ph_spill *spill, struct ph_spill_file *file, size_t n)
{
	void *room;

	if (file->used + n > PH_BUFFER_BYTES && !spill->err)
		spill->err = ph_spill_file_flush(file);
	if (spill->err)
		return NULL;
	room = file->buffer + file->used;
	file->used += n;
	return room;
}

int ph_spill_init(struct ph_spill *spill, const char *folder, int stacks)
{
	int err;

	*spill = (struct ph_spill){ .folder = -1, .calls.fd = -1, .events.fd = -1, .samples.fd = -1 };
	spill->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (spill->folder < 0)
		return -errno;
	err = ph_spill_file_init(&spill->calls, spill->folder, "ring.raw");
	if (!err)
		err = ph_spill_file_init(&spill->events, spill->folder, "events.raw");
	if (!err)
		err = ph_spill_file_init(&spill->samples, spill->folder, "samples.raw");
	if (!err && stacks) {
		spill->unwinder = ph_unwinder_new(spill->folder);
		err = spill->unwinder ? 0 : -ENOMEM;
	}
	return err;
}

void ph_spill_fini(struct ph_spill *spill)
{
	ph_spill_file_fini(&spill->calls);
	ph_spill_file_fini(&spill->events);
	ph_spill_file_fini(&spill->samples);
	ph_unwinder_free(spill->unwinder);
	if (spill->folder >= 0)
		close(spill->folder);
	spill->folder = -1;
}

/* A record as it is kept: the stack's bytes become the stack's number. */
static void *spill_with_stack(struct ph_spill *spill, const struct ph_call *call, int cpu)
{
	uint32_t with = call->flags & PH_CALL_TIMED ? call->stack_len : 0, python = with ? call->python_len : 0;
	uint32_t kept = call->len - with - python;
	struct ph_block *block = file_room(spill, &spill->calls, sizeof(*block) + kept);
	struct ph_call *room = (void *)(block + 1);

	if (!block)
		return NULL;
	*block = (struct ph_block){ .cpu = cpu, .bytes = kept };
	memcpy(room, call, kept);
	room->len = kept;
	if (!(call->flags & PH_CALL_TIMED))
		return block;
	room->stack_len = 0;
	room->stack = with ? ph_unwind(spill->unwinder, call->pid, (const void *)((const unsigned char *)call + kept + python), with,
				       (const unsigned char *)call + kept, python) : 0;
	return block;
}

int ph_spill_calls(void *context, const void *records, size_t bytes, int cpu)
{
	const unsigned char *at = records, *end = at + bytes;
	struct ph_spill *spill = context;
	struct ph_block block = { .cpu = cpu, .bytes = bytes };

	if (!spill->unwinder) {
		if (!spill->err)
			spill->err = ph_spill_file_add(&spill->calls, &block, sizeof(block));
		if (!spill->err)
			spill->err = ph_spill_file_add(&spill->calls, records, bytes);
		return spill->err;
	}
	for (; at < end; at += ((const struct ph_call *)at)->len)
		if (!spill_with_stack(spill, (const void *)at, cpu))
			return spill->err;
	return 0;
}

int ph_spill_sample(void *context, const void *record, uint32_t len)
{
	struct ph_spill *spill = context;
	struct ph_sample *room = file_room(spill, &spill->samples, PH_SAMPLE_BYTES);

	if (!room)
		return spill->err;
	(void)len;
	memcpy(room, record, PH_SAMPLE_BYTES);
	if (room->stack_len && spill->unwinder)
		room->stack = ph_unwind(spill->unwinder, room->pid,
					(const void *)((const unsigned char *)record + PH_SAMPLE_BYTES), room->stack_len, NULL, 0);
	room->stack_len = 0;
	return 0;
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
	if (spill->unwinder && ((const struct ph_event *)record)->type == PH_EVENT_FORK)
		ph_unwinder_forked(spill->unwinder, ((const struct ph_event *)record)->ppid,
				   ((const struct ph_event *)record)->pid);
	return 0;
}

int ph_spill_flush(struct ph_spill *spill)
{
	if (!spill->err)
		spill->err = ph_spill_file_flush(&spill->calls);
	if (!spill->err)
		spill->err = ph_spill_file_flush(&spill->events);
	if (!spill->err)
		spill->err = ph_spill_file_flush(&spill->samples);
	if (!spill->err && spill->unwinder)
		spill->err = ph_unwinder_flush(spill->unwinder);
	return spill->err;
}

int ph_spill_text(struct ph_spill *spill, const char *name, const char *text)
{
	int fd = openat(spill->folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600), err;

	if (fd < 0)
		return -errno;
	err = ph_write_all(fd, text, strlen(text));
	close(fd);
	return err;
}

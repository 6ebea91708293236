/* From the records of lanes.raw to rows as the other recorder's. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lanes.h"
#include "peephole/abi_record.h"

#define PID_OF(who) ((uint32_t)((who) & ((1u << PH_LANE_PID_BITS) - 1)))
#define TID_OF(who) PID_OF((who) >> PH_LANE_PID_BITS)
#define NR_OF(who) ((int32_t)((int64_t)(who) >> (2 * PH_LANE_PID_BITS)))

struct unpacking {
	struct ph_spill_file calls, paths, starts;
	const struct ph_ticks *points;
	size_t n_points, at_point;
	uint64_t *records;
	uint32_t *lost, n_lanes;
	int err;
};

static void add(struct unpacking *to, struct ph_spill_file *file, const void *bytes, size_t n)
{
	if (n && !to->err)
		to->err = ph_spill_file_add(file, bytes, n);
}

/* Between two points time goes evenly. */
static int64_t ns_of(struct unpacking *to, uint64_t ticks)
{
	const struct ph_ticks *from, *next;

	while (to->at_point + 2 < to->n_points && ticks >= to->points[to->at_point + 1].ticks)
		to->at_point++;
	while (to->at_point && ticks < to->points[to->at_point].ticks)
		to->at_point--;
	from = &to->points[to->at_point];
	next = from + 1;
	return from->ns + (int64_t)((double)(int64_t)(ticks - from->ticks) * (double)(next->ns - from->ns) /
				    (double)(int64_t)(next->ticks - from->ticks));
}

static size_t shorter(size_t n)
{
	return n ? n - 1 : 0;
}

/* The lengths and bytes at a record's end, as far as they lie in it. */
static const char *bytes_of(const uint64_t *at, const uint64_t *end, struct ph_lane_lengths *lengths)
{
	if (at >= end)
		return NULL;
	memcpy(lengths, at, sizeof(*lengths));
	return lengths->path + lengths->path2 + (uint64_t)lengths->argv <= (uint64_t)(end - at - 1) * 8 ? (const char *)(at + 1) : NULL;
}

static void unpack_start(struct unpacking *to, const struct ph_lane_record *record, const uint64_t *args,
			 const struct ph_lane_lengths *lengths, const char *bytes)
{
	struct ph_lanes_start start = { .ns = ns_of(to, record->exit), .pid = (int32_t)PID_OF(record->who), .ppid = (int32_t)args[1],
					.name_len = (uint16_t)shorter(lengths->path), .exe_len = (uint16_t)shorter(lengths->path2),
					.argv_len = lengths->argv };

	add(to, &to->starts, &start, sizeof(start));
	add(to, &to->starts, bytes, start.name_len);
	add(to, &to->starts, bytes + lengths->path, start.exe_len);
	add(to, &to->starts, bytes + lengths->path + lengths->path2, start.argv_len);
}

static void unpack_one(struct unpacking *to, uint32_t lane, const uint64_t *at)
{
	const struct ph_lane_record *record = (const void *)at;
	const uint64_t *end = at + PH_LANE_WORDS(record->word), *args = at + PH_LANE_FIXED_WORDS;
	unsigned n = PH_LANE_ARGS(record->word);
	struct ph_lane_lengths lengths = { 0 };
	const char *bytes = NULL;
	struct ph_call row = { .exit_ns = (uint64_t)ns_of(to, record->exit), .nr = NR_OF(record->who), .tid = TID_OF(record->who),
			       .pid = PID_OF(record->who), .cpu = (uint16_t)lane, .flags = PH_CALL_TIMED, .ret = record->ret,
			       .ip = record->ip };

	if (record->word & PH_LANE_LONG)
		row.enter_ns = (uint64_t)ns_of(to, *args++);
	else if (record->took)
		row.enter_ns = (uint64_t)ns_of(to, record->exit - record->took);
	if (n > 6 || args + n > end)
		return;
	if (record->word & PH_LANE_BYTES)
		bytes = bytes_of(args + n, end, &lengths);
	to->lost[lane] = (int32_t)(record->lost - to->lost[lane]) > 0 ? record->lost : to->lost[lane];
	row.seq = (uint32_t)++to->records[lane] + to->lost[lane];
	if (record->word & PH_LANE_NO_RETURN)
		row.flags |= PH_CALL_NO_RETURN;
	if (record->word & PH_LANE_NO_ARGS)
		row.flags |= PH_CALL_NO_ARGS;
	if (record->word & PH_LANE_START && bytes && n == 2) {
		unpack_start(to, record, args, &lengths, bytes);
	} else {
		memcpy(row.args, args, n * sizeof(*args));
		row.path_len = bytes ? lengths.path : 0;
		row.path2_len = bytes ? lengths.path2 : 0;
	}
	add(to, &to->calls, &row, sizeof(row));
	add(to, &to->paths, bytes, shorter(row.path_len));
	add(to, &to->paths, bytes + lengths.path, shorter(row.path2_len));
}

static void unpack_block(struct unpacking *to, uint32_t lane, const uint64_t *at, const uint64_t *end)
{
	if (lane & PH_LANES_HOLE && (lane & ~PH_LANES_HOLE) < to->n_lanes)
		to->records[lane & ~PH_LANES_HOLE]++;
	if (lane >= to->n_lanes)
		return;
	while (!to->err && end - at >= PH_LANE_FIXED_WORDS) {
		uint64_t n = PH_LANE_WORDS(*at);

		if (n < PH_LANE_FIXED_WORDS || n > (uint64_t)(end - at))
			break;
		unpack_one(to, lane, at);
		at += n;
	}
}

static void unpack_all(struct unpacking *to, int folder)
{
	int fd = openat(folder, "lanes.raw", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	const uint64_t *at, *end;
	void *memory;
	struct stat st;

	if (fd < 0 || fstat(fd, &st)) {
		to->err = -errno;
		return;
	}
	memory = st.st_size ? mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0) : NULL;
	close(fd);
	if (memory == MAP_FAILED) {
		to->err = -errno;
		return;
	}
	for (at = memory, end = at + st.st_size / 8; at < end && !to->err;) {
		struct ph_lanes_block block;
		const uint64_t *until;

		memcpy(&block, at++, sizeof(block));
		until = block.bytes / 8 <= (uint64_t)(end - at) ? at + block.bytes / 8 : end;
		unpack_block(to, block.lane, at, until);
		at = until;
	}
	if (memory)
		munmap(memory, st.st_size);
}

int ph_lanes_unpack(int folder, const struct ph_ticks *points, size_t n, uint32_t n_lanes, uint64_t *records)
{
	struct unpacking to = { .calls.fd = -1, .paths.fd = -1, .starts.fd = -1, .points = points, .n_points = n,
				.records = records, .n_lanes = n_lanes, .lost = calloc(n_lanes, sizeof(*to.lost)) };
	struct { struct ph_spill_file *file; const char *name; } files[] = {
		{ &to.calls, "calls.raw" }, { &to.paths, "paths.raw" }, { &to.starts, "starts.raw" } };

	to.err = to.lost ? 0 : -ENOMEM;
	for (size_t i = 0; i < 3 && !to.err; i++)
		to.err = ph_spill_file_init(files[i].file, folder, files[i].name);
	if (!to.err)
		unpack_all(&to, folder);
	for (size_t i = 0; i < 3; i++) {
		if (!to.err)
			to.err = ph_spill_file_flush(files[i].file);
		ph_spill_file_fini(files[i].file);
	}
	free(to.lost);
	return to.err;
}

#include "lanes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define RUN_WORDS (1u << 15)	/* room is given back so often */
#define DEAD_NS 200000000	/* a writer is not away for so long between two stores, unless it is dead */
#define PIDS (1u << PH_LANE_PID_BITS)
#define LANES_MAX 4096u
#define DRAINS_MAX 16

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static int check(const struct ph_shared_ring *ring, size_t bytes, size_t *lanes_bytes)
{
	if (bytes < PAGE || ring->magic != PH_SHARED_RING_MAGIC || ring->version != PH_SHARED_RING_VERSION || !ring->lanes ||
	    ring->lanes > LANES_MAX || !ring->words || ring->words & (ring->words - 1) || ring->words > bytes >> 3)
		return -EBADMSG;
	*lanes_bytes = (ring->lanes * sizeof(struct ph_lane) + PAGE - 1) & ~(size_t)(PAGE - 1);
	return bytes == PAGE + *lanes_bytes + ring->lanes * (ring->words + PH_LANE_SLACK_WORDS) * 8 ? 0 : -EBADMSG;
}

int ph_lanes_init(struct ph_lanes *lanes, const char *file, struct ph_spill_file *to)
{
	int fd = open(file, O_RDWR | O_CLOEXEC | O_NOFOLLOW), err;
	size_t lanes_bytes = 0;
	struct stat st;
	char *memory;

	*lanes = (struct ph_lanes){ .to = to };
	if (fd < 0)
		return -errno;
	memory = fstat(fd, &st) ? MAP_FAILED : mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	err = memory == MAP_FAILED ? -errno : 0;
	close(fd);
	if (err)
		return err;
	lanes->ring = (void *)memory;
	lanes->bytes = st.st_size;
	err = check(lanes->ring, lanes->bytes, &lanes_bytes);
	if (!err) {
		lanes->lanes = (void *)(memory + PAGE);
		lanes->words = (void *)(memory + PAGE + lanes_bytes);
		lanes->readers = calloc(lanes->ring->lanes, sizeof(*lanes->readers));
		lanes->seen = calloc(PIDS / 8, 1);
		err = lanes->readers && lanes->seen ? 0 : -ENOMEM;
	}
	if (err)
		ph_lanes_fini(lanes);
	return err;
}

void ph_lanes_fini(struct ph_lanes *lanes)
{
	if (lanes->ring)
		munmap(lanes->ring, lanes->bytes);
	free(lanes->readers);
	free(lanes->seen);
	*lanes = (struct ph_lanes){ 0 };
}

static int is_alive(uint32_t pid)
{
	char path[32], text[512];
	const char *state;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	state = strrchr(text, ')');
	return state && state[1] && state[2] != 'Z' && state[2] != 'X';
}

int ph_lanes_living(const struct ph_lanes *lanes)
{
	int living = 0;

	for (uint32_t pid = 1; pid < PIDS; pid++)
		if (lanes->seen[pid >> 3] && lanes->seen[pid >> 3] & 1u << (pid & 7))
			living += is_alive(pid);
	return living;
}

static uint64_t *word_at(const struct ph_lanes *lanes, uint32_t lane, uint64_t place)
{
	return lanes->words + lane * (lanes->ring->words + PH_LANE_SLACK_WORDS) + (place & (lanes->ring->words - 1));
}

/* How many words the record at `place` has; 0: it is not there yet, or is no record. */
static uint64_t finished(const uint64_t *at, uint64_t place, uint64_t end)
{
	uint64_t word = __atomic_load_n(at, __ATOMIC_ACQUIRE), n = PH_LANE_WORDS(word);
	uint64_t tag = word & ~PH_LANE_READY & ~((1ull << PH_LANE_TAG_AT) - 1);

	return word & PH_LANE_READY && tag == PH_LANE_TAG(place) && n >= PH_LANE_FIXED_WORDS && n <= end - place ? n : 0;
}

static int spill(struct ph_lanes *lanes, uint32_t lane, const void *records, size_t bytes)
{
	struct ph_lanes_block block = { .lane = bytes ? lane : lane | PH_LANES_HOLE, .bytes = (uint32_t)bytes };
	int err = ph_spill_file_add(lanes->to, &block, sizeof(block));

	return err || !bytes ? err : ph_spill_file_add(lanes->to, records, bytes);
}

/* Where the next record is that somebody finished. */
static uint64_t next_finished(const struct ph_lanes *lanes, uint32_t lane, uint64_t place, uint64_t end)
{
	for (place++; place < end; place++)
		if (finished(word_at(lanes, lane, place), place, end))
			break;
	return place;
}

/* The record at `place` is not there yet; its writer may be dead. Where to go on. */
static uint64_t when_stuck(struct ph_lanes *lanes, uint32_t lane, uint64_t place, uint64_t end, int final, int *err)
{
	const uint64_t *at = word_at(lanes, lane, place);
	struct ph_lane_reader *reader = &lanes->readers[lane];
	uint64_t word = __atomic_load_n(at, __ATOMIC_ACQUIRE), n = PH_LANE_WORDS(word);
	int claimed = (word & ~((1ull << PH_LANE_TAG_AT) - 1)) == PH_LANE_TAG(place) && n >= PH_LANE_FIXED_WORDS && n <= end - place;

	if (!reader->stuck_ns)
		reader->stuck_ns = now_ns();
	if (!final && (now_ns() - reader->stuck_ns < DEAD_NS || !claimed || is_alive(at[1] & (PIDS - 1))))
		return place;
	*err = spill(lanes, lane, NULL, 0);
	return claimed ? place + n : next_finished(lanes, lane, place, end);
}

static uint64_t run_of(struct ph_lanes *lanes, uint32_t lane, uint64_t place, uint64_t end)
{
	uint64_t start = place, first = place & (lanes->ring->words - 1);
	const uint64_t *at = word_at(lanes, lane, place);

	while (place < end && place - start < RUN_WORDS && first + (place - start) < lanes->ring->words) {
		const uint64_t *record = at + (place - start);
		uint64_t n = finished(record, place, end);
		uint32_t pid = record[1] & (PIDS - 1);

		if (!n)
			break;
		lanes->seen[pid >> 3] |= 1u << (pid & 7);
		place += n;
	}
	return place;
}

static long drain_lane(struct ph_lanes *lanes, uint32_t lane, int final)
{
	struct ph_lane_reader *reader = &lanes->readers[lane];
	uint64_t head = __atomic_load_n(&lanes->lanes[lane].head, __ATOMIC_ACQUIRE), end = PH_LANE_PLACE(head);
	uint64_t at = reader->tail, mask = lanes->ring->words - 1;
	long taken = 0;
	int err = 0;

	if ((uint16_t)(head >> PH_LANE_PLACE_BITS) != reader->restarts) {
		reader->restarts = (uint16_t)(head >> PH_LANE_PLACE_BITS);
		at = (at | mask) + 1;
	}
	if (end < at || end - at > mask + 1)
		return -EBADMSG;
	while (at < end && !err) {
		uint64_t to = run_of(lanes, lane, at, end);

		if (to == at) {
			to = when_stuck(lanes, lane, at, end, final, &err);
			if (to == at)
				break;
		} else {
			err = spill(lanes, lane, word_at(lanes, lane, at), (to - at) * 8);
		}
		reader->stuck_ns = 0;
		taken += (long)(to - at) * 8;
		at = to;
		__atomic_store_n(&lanes->lanes[lane].tail, at, __ATOMIC_RELEASE);
	}
	reader->tail = at;
	__atomic_store_n(&lanes->lanes[lane].tail, at, __ATOMIC_RELEASE);
	return err ? err : taken;
}

static long drain_once(struct ph_lanes *lanes, int final)
{
	long taken = 0;

	for (uint32_t lane = 0; lane < lanes->ring->lanes; lane++) {
		long n = drain_lane(lanes, lane, final);

		if (n < 0)
			return n;
		taken += n;
	}
	return taken;
}

/* Until everything was read for a moment, which lets the lanes start again: memory that was written before costs the
 * writers no page fault. */
long ph_lanes_drain(struct ph_lanes *lanes, int final)
{
	long taken = drain_once(lanes, final), more = taken;

	for (int i = 0; i < DRAINS_MAX && more > 0; i++) {
		more = drain_once(lanes, final);
		taken += more > 0 ? more : 0;
	}
	return more < 0 ? more : taken;
}

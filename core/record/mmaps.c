#include "mmaps.h"

#include <bpf/libbpf.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DATA_PAGES 64	/* a power of two; 2000 mappings of a CPU between two looks */
#define RECORD_MAX 65536

struct ph_mmaps {
	int n;
	size_t page_bytes;
	struct { int fd; struct perf_event_mmap_page *page; } *cpus;
	unsigned char record[RECORD_MAX];
};

/* linux/perf_event.h: PERF_RECORD_MMAP2 without PERF_RECORD_MISC_MMAP_BUILD_ID */
struct mmap2 {
	struct perf_event_header header;
	uint32_t pid, tid;
	uint64_t addr, len, pgoff;
	uint32_t major, minor;
	uint64_t ino, generation;
	uint32_t prot, flags;
	char path[];
};

static int open_cpu(struct ph_mmaps *mmaps, int cpu)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = PERF_COUNT_SW_DUMMY,
					.mmap = 1, .mmap2 = 1, .watermark = 1, .wakeup_watermark = 1 << 30 };
	int fd = syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
	void *page;

	if (fd < 0)
		return -1;
	page = mmap(NULL, (1 + DATA_PAGES) * mmaps->page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED) {
		close(fd);
		return -1;
	}
	mmaps->cpus[mmaps->n].fd = fd;
	mmaps->cpus[mmaps->n++].page = page;
	return 0;
}

struct ph_mmaps *ph_mmaps_new(void)
{
	struct ph_mmaps *mmaps = calloc(1, sizeof(*mmaps));
	int cpus = libbpf_num_possible_cpus();

	if (!mmaps)
		return NULL;
	mmaps->page_bytes = sysconf(_SC_PAGESIZE);
	mmaps->cpus = calloc(cpus, sizeof(*mmaps->cpus));
	for (int cpu = 0; mmaps->cpus && cpu < cpus; cpu++)
		open_cpu(mmaps, cpu);
	if (!mmaps->n) {
		ph_mmaps_free(mmaps);
		return NULL;
	}
	return mmaps;
}

void ph_mmaps_free(struct ph_mmaps *mmaps)
{
	if (!mmaps)
		return;
	for (int i = 0; i < mmaps->n; i++) {
		munmap(mmaps->cpus[i].page, (1 + DATA_PAGES) * mmaps->page_bytes);
		close(mmaps->cpus[i].fd);
	}
	free(mmaps->cpus);
	free(mmaps);
}

static void take_one(const struct mmap2 *record, void (*take)(void *, const struct ph_mmap *), void *context)
{
	struct ph_mmap mapping = { .pid = record->pid, .major = record->major, .minor = record->minor,
				   .start = record->addr, .len = record->len, .offset = record->pgoff, .ino = record->ino,
				   .path = record->path };

	if (record->header.type == PERF_RECORD_MMAP2 && record->ino)
		take(context, &mapping);
}

static void drain_cpu(struct ph_mmaps *mmaps, struct perf_event_mmap_page *page,
		      void (*take)(void *, const struct ph_mmap *), void *context)
{
	const unsigned char *data = (const unsigned char *)page + mmaps->page_bytes;
	uint64_t size = DATA_PAGES * mmaps->page_bytes, at = page->data_tail;
	uint64_t end = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);

	while (at < end) {
		const struct perf_event_header *header = (const void *)(data + (at & (size - 1)));
		uint64_t len = header->size, first = size - (at & (size - 1));

		if (len < sizeof(*header))
			break;
		if (first > len)
			first = len;
		/* Records wrap around; in one piece they are easier to read, and end in a NUL for sure. */
		memcpy(mmaps->record, header, first);
		memcpy(mmaps->record + first, data, len - first);
		mmaps->record[len - 1] = 0;
		take_one((const void *)mmaps->record, take, context);
		at += len;
	}
	__atomic_store_n(&page->data_tail, at, __ATOMIC_RELEASE);
}

void ph_mmaps_drain(struct ph_mmaps *mmaps, void (*take)(void *context, const struct ph_mmap *mapping), void *context)
{
	for (int i = 0; i < mmaps->n; i++)
		drain_cpu(mmaps, mmaps->cpus[i].page, take, context);
}

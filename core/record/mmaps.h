/* Executable mappings as they are made, of every process, from perf's side-band: /proc/PID/maps is gone with the process. */
#ifndef PH_RECORD_MMAPS_H
#define PH_RECORD_MMAPS_H

#include <stdint.h>

struct ph_mmap {
	uint32_t pid;
	uint32_t major, minor;
	uint64_t start, len, offset, ino;
	const char *path;
};

struct ph_mmaps;

/* NULL where the kernel refuses it. */
struct ph_mmaps *ph_mmaps_new(void);
void ph_mmaps_free(struct ph_mmaps *mmaps);
void ph_mmaps_drain(struct ph_mmaps *mmaps, void (*take)(void *context, const struct ph_mmap *mapping), void *context);

#endif

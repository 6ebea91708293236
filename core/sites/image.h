/* An ELF file in memory: its executable segment, its functions, its build-id. */
#ifndef PH_SITES_IMAGE_H
#define PH_SITES_IMAGE_H

#include <stddef.h>
#include <stdint.h>

struct function {
	uint64_t start, end;
};

struct image {
	const uint8_t *file;
	size_t file_bytes;
	const uint8_t *text;		/* of the one executable segment */
	uint64_t text_start, text_bytes;
	uint8_t build_id[32];
	uint32_t build_id_bytes;
	struct function *functions;	/* by start; from .eh_frame, sized symbols and Go's table */
	size_t n_functions, room;
};

/* 0, or -errno: -ENOEXEC when it is no 64-bit x86 ELF file with one executable segment. */
int image_open(const char *path, struct image *image);

/* `bytes` bytes of the file at a virtual address, or NULL. */
const uint8_t *image_at(const struct image *image, uint64_t address, size_t bytes);

/* The function that covers an address, or NULL. */
const struct function *image_function(const struct image *image, uint64_t address);

#endif

/* A private file that is written through a buffer. */
#ifndef PH_RECORD_BUFFER_H
#define PH_RECORD_BUFFER_H

#include <stddef.h>

#define PH_BUFFER_BYTES (1u << 20)

struct ph_spill_file {
	int fd;
	size_t used;
	unsigned char *buffer;
};

int ph_spill_file_init(struct ph_spill_file *file, int folder, const char *name);
void ph_spill_file_fini(struct ph_spill_file *file);
int ph_spill_file_flush(struct ph_spill_file *file);
int ph_spill_file_add(struct ph_spill_file *file, const void *bytes, size_t n);
int ph_write_all(int fd, const void *bytes, size_t n);

#endif

#define _GNU_SOURCE
#include "list.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int parse(const char *text, struct ph_wanted *out)
{
	char *end;
	long long bytes;

	if ((text[0] != 'f' && text[0] != 'd') || text[1] != ' ')
		return -1;
	bytes = strtoll(text + 2, &end, 10);
	if (end == text + 2 || *end != ' ' || bytes < 0 || !end[1])
		return -1;
	*out = (struct ph_wanted){ .path = end + 1, .bytes = bytes, .kind = text[0] };
	return 0;
}

static int map_text(const char *path, const char **out, size_t *out_n)
{
	struct stat st;
	void *at = MAP_FAILED;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
		at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	close(fd);
	if (at == MAP_FAILED)
		return -EINVAL;
	*out = at;
	*out_n = (size_t)st.st_size;
	return 0;
}

int ph_list_read(const char *path, struct ph_list *out)
{
	const char *text = NULL, *end;
	size_t bytes = 0, n = 0;
	int r = map_text(path, &text, &bytes);

	if (r < 0)
		return r;
	if (text[bytes - 1])
		return -EINVAL;
	end = text + bytes;
	for (const char *at = text; at < end; at += strlen(at) + 1)
		n++;
	out->wanted = calloc(n, sizeof(*out->wanted));
	if (!out->wanted)
		return -ENOMEM;
	out->n = 0;
	for (const char *at = text; at < end; at += strlen(at) + 1)
		if (parse(at, &out->wanted[out->n]) == 0)
			out->n++;
	return 0;
}

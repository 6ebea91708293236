#define _GNU_SOURCE
#include "folders.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPENED 64
#define TOLD (IN_ATTRIB | IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF)

static struct ph_examined *table;
static int watches = -1;

/* Folders that were opened lately: files are asked for one after the other of their folder, in each thread of a program. */
static struct folder {
	int fd;		/* -1: none */
	unsigned start;
	uint32_t index, bytes;
	char path[PH_EXAMINED_PATH];
} opened[OPENED];

void ph_folders_close(void)
{
	for (unsigned i = 0; i < OPENED; i++) {
		if (opened[i].fd >= 0)
			close(opened[i].fd);
		opened[i].fd = -1;
	}
}

void ph_folders_reset(void)
{
	ph_folders_close();
	if (watches >= 0)
		close(watches);
	watches = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
}

int ph_folders_begin(struct ph_examined *t)
{
	table = t;
	for (unsigned i = 0; i < OPENED; i++)
		opened[i].fd = -1;
	ph_folders_reset();
	return watches < 0 ? -1 : 0;
}

int ph_folders_fd(void)
{
	return watches;
}

/* Its index, or -1. The same folder has the same, by whatever path. */
static int watch(int fd)
{
	char path[64];
	int wd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	wd = inotify_add_watch(watches, path, TOLD | IN_ONLYDIR);
	return wd < PH_EXAMINED_FOLDERS ? wd : -1;
}

static int open_start(const struct ph_start *start)
{
	char path[PH_EXAMINED_PATH];
	struct stat st;
	int fd;

	if (!atomic_load(&start->ready) || start->bytes >= sizeof(path) || start->path > PH_EXAMINED_PATHS - start->bytes)
		return -1;
	memcpy(path, table->paths + start->path, start->bytes);
	path[start->bytes] = 0;
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || (fstat(fd, &st) == 0 && st.st_dev == start->dev && st.st_ino == start->ino))
		return fd;
	close(fd);
	return -1;
}

/* The folder that the path's first `bytes` name, part by part; each is watched before the next is looked for in it. */
static int walk(const struct ph_start *start, char *path, uint32_t bytes, int *index)
{
	int fd = open_start(start);
	char *end;

	*index = fd < 0 ? -1 : watch(fd);
	for (char *part = path; *index >= 0 && part < path + bytes; part = end + 1) {
		int outer = fd;

		end = strchr(part, '/');
		*end = 0;
		fd = openat(outer, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		*end = '/';
		close(outer);
		*index = fd < 0 ? -1 : watch(fd);
	}
	if (*index >= 0 || fd < 0)
		return fd;
	close(fd);
	return -1;
}

int ph_folders_open(const struct ph_start *start, unsigned number, char *path, const char **name, uint32_t *index)
{
	char *slash = strrchr(path, '/');
	uint32_t bytes = slash ? (uint32_t)(slash + 1 - path) : 0;
	struct folder *f = &opened[ph_examined_hash(PH_EXAMINED_SEED + number, path, bytes) % OPENED];
	int found;

	*name = path + bytes;
	if (f->fd < 0 || f->start != number || f->bytes != bytes || memcmp(f->path, path, bytes)) {
		if (f->fd >= 0)
			close(f->fd);
		f->fd = walk(start, path, bytes, &found);
		f->index = (uint32_t)found;
		f->start = number;
		f->bytes = bytes;
		memcpy(f->path, path, bytes);
	}
	*index = f->index;
	return f->fd;
}

/* One event: of a folder that has another place, or that others may enter now, everything below it tells. */
static bool hear(const struct inotify_event *e)
{
	if (e->mask & (IN_Q_OVERFLOW | IN_UNMOUNT | IN_MOVE_SELF) ||
	    ((e->mask & IN_ISDIR) && (e->mask & (IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB))))
		return false;
	if (e->wd >= 0 && e->wd < PH_EXAMINED_FOLDERS)
		atomic_fetch_add(&table->folders[e->wd], 1);
	if (e->mask & (IN_DELETE_SELF | IN_IGNORED | IN_ISDIR))
		ph_folders_close();
	return true;
}

bool ph_folders_hear(void)
{
	_Alignas(struct inotify_event) char events[16384];
	bool fine = true;
	ssize_t n;

	while ((n = read(watches, events, sizeof(events))) > 0) {
		atomic_fetch_add(&table->folders[0], 1);
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *e = (const struct inotify_event *)(events + at);

			fine = hear(e) && fine;
			at += (ssize_t)sizeof(*e) + e->len;
		}
	}
	if (!fine)
		ph_folders_close();
	return fine;
}

#include "join.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FIRST_ROOM 256

void ph_pids_fini(struct ph_pids *pids)
{
	free(pids->pids);
	*pids = (struct ph_pids){ 0 };
}

int ph_pids_add(struct ph_pids *pids, uint32_t pid)
{
	if (pids->n == pids->room) {
		size_t room = pids->room ? 2 * pids->room : FIRST_ROOM;
		uint32_t *more = realloc(pids->pids, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		pids->pids = more;
		pids->room = room;
	}
	pids->pids[pids->n++] = pid;
	return 0;
}

static int add_numbers(struct ph_pids *pids, const char *path)
{
	FILE *file = fopen(path, "re");
	unsigned int pid;
	int err = 0;

	if (!file)
		return -errno;
	while (!err && fscanf(file, "%u", &pid) == 1)
		if (pid)
			err = ph_pids_add(pids, pid);
	if (!err && ferror(file))
		err = -errno;
	fclose(file);
	return err;
}

/* Children are listed by the thread that made them; a process that ends meanwhile is no error. */
static int add_children(struct ph_pids *pids, uint32_t pid)
{
	char path[64 + NAME_MAX];
	struct dirent *thread;
	int err = 0;
	DIR *threads;

	snprintf(path, sizeof(path), "/proc/%u/task", pid);
	threads = opendir(path);
	if (!threads)
		return 0;
	while (!err && (thread = readdir(threads))) {
		if (thread->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%u/task/%s/children", pid, thread->d_name);
		err = add_numbers(pids, path);
		if (err == -ENOENT || err == -ESRCH)
			err = 0;
	}
	closedir(threads);
	return err;
}

int ph_pids_add_tree(struct ph_pids *pids, pid_t root)
{
	char path[32];
	size_t at = pids->n;
	int err;

	snprintf(path, sizeof(path), "/proc/%d/task", root);
	if (access(path, F_OK))
		return -ESRCH;
	err = ph_pids_add(pids, root);
	for (; !err && at < pids->n; at++)
		err = add_children(pids, pids->pids[at]);
	return err;
}

int ph_pids_add_cgroup(struct ph_pids *pids, const char *folder)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *entries;
	int err;

	if (snprintf(path, sizeof(path), "%s/cgroup.procs", folder) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	err = add_numbers(pids, path);
	if (err == -EOPNOTSUPP)	/* a threaded cgroup: its processes are listed above it */
		err = 0;
	if (err)
		return err;
	entries = opendir(folder);
	if (!entries)
		return -errno;
	while (!err && (entry = readdir(entries))) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		if (snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name) >= (int)sizeof(path))
			continue;
		err = ph_pids_add_cgroup(pids, path);
		if (err == -ENOENT)	/* removed meanwhile */
			err = 0;
	}
	closedir(entries);
	return err;
}

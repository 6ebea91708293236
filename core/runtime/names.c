/* Mechanisms of rules that change names: see rule.h. */
#include "layers.h"
#include "numbers.h"

#define PATH_MAX_BYTES 4096

/* Whether two paths of regular files are alike up to their last components. */
static bool same_folder(const char *a, const char *b)
{
	char x = '\0', y = '\0';
	size_t i = 0;

	do {
		if (ph_copy_in(&x, a + i, 1) < 0 || ph_copy_in(&y, b + i, 1) < 0)
			return false;
		i++;
	} while (x == y && x != '\0' && i < PATH_MAX_BYTES);
	for (size_t j = i - 1; x != '\0'; j++)
		if (ph_copy_in(&x, a + j, 1) < 0 || x == '/' || j >= PATH_MAX_BYTES)
			return false;
	for (size_t j = i - 1; y != '\0'; j++)
		if (ph_copy_in(&y, b + j, 1) < 0 || y == '/' || j >= PATH_MAX_BYTES)
			return false;
	return true;
}

static bool flushes_at_rename(const struct ph_k *k, uint64_t dev)
{
	for (uint32_t i = 0; i < ph_control->n_mounts && i < PH_MOUNTS_MAX; i++)
		if (ph_control->mounts[i].dev == dev)
			return (ph_control->mounts[i].rules & (1u << ph_layers[k->layer].index)) &&
			       ph_control->mounts[i].profile == PH_PROFILE_EXT4_ORDERED;
	return false;
}

bool ph_replaceable(struct ph_k *k, int64_t old_dir, int64_t old, int64_t new_dir, int64_t new)
{
	struct ph_identity a, b;

	if (k->walk->trial) {
		k->walk->aborted = true;
		return false;
	}
	return old_dir == new_dir && ph_identify_name(new_dir, new, &b) == 0 && flushes_at_rename(k, b.dev) &&
	       ph_identify_name(old_dir, old, &a) == 0 && (a.mode & PH_S_IFMT) == PH_S_IFREG &&
	       (b.mode & PH_S_IFMT) == PH_S_IFREG && a.dev == b.dev && a.ino != b.ino &&
	       same_folder((const char *)old, (const char *)new);
}

int64_t ph_k_exchange(struct ph_k *k, int64_t old_dir, int64_t old, int64_t new_dir, int64_t new)
{
	if (k->walk->trial) {
		k->walk->aborted = true;
		return -PH_EAGAIN;
	}
	return ph_syscall(PH_NR_renameat2, old_dir, old, new_dir, new, PH_RENAME_EXCHANGE, 0);
}

int64_t ph_k_unlinkat(struct ph_k *k, int64_t dir, int64_t path)
{
	if (k->walk->trial) {
		k->walk->aborted = true;
		return -PH_EAGAIN;
	}
	return ph_syscall(PH_NR_unlinkat, dir, path, 0, 0, 0, 0);
}

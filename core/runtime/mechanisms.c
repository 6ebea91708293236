/* The named mechanisms that rules use: see rule.h, and docs/rule-language.md for what each means. */
#include "keeper.h"
#include "layers.h"
#include "numbers.h"
#include "opens.h"
#include "run.h"

/* --- the call itself --- */

int64_t ph_forward(struct ph_k *k)
{
	uint64_t start = ph_below_begin(k);
	int64_t r = ph_layer_call(k->walk, k->layer + 1, k->call);

	ph_below_end(k, start);
	k->forwarded = true;
	k->result = r;
	return r;
}

bool ph_ok(int64_t r)
{
	return r >= 0;
}

inline void ph_hit(struct ph_k *k)
{
	k->hit = true;
	k->walk->hit_by = k->layer + 1;
	if (!k->f) {
		k->walk->hits |= 1u << k->layer;
	} else if (++k->f->hits >= PH_MANY_HITS && k->walk->trial) {
		k->f->hits -= PH_MANY_HITS;
		k->walk->many_hits |= 1u << k->layer;
	}
}

/* --- kernel calls --- */

int64_t ph_layer_below(struct ph_k *k, int64_t nr, int64_t a0, int64_t a1, int64_t a2, int64_t a3)
{
	struct ph_call c = { .nr = nr, .a = { a0, a1, a2, a3 } };
	struct ph_description *outer = k->walk->d;
	int64_t r;

	if (nr != PH_NR_openat)
		k->walk->d = ph_description_of(a0);
	r = ph_layer_call(k->walk, k->layer + 1, &c);
	k->walk->d = outer;
	return r;
}

int64_t ph_k_openat(struct ph_k *k, int64_t dir, int64_t path, int64_t flags, int64_t mode)
{
	uint64_t start = ph_below_begin(k);
	int64_t fd = ph_layer_below(k, PH_NR_openat, dir, path, flags, mode);

	ph_below_end(k, start);
	k->opened = fd >= 0 ? fd + 1 : 0;
	return fd;
}

int64_t ph_k_close(struct ph_k *k, int64_t fd)
{
	struct ph_description *d = ph_description_of(fd);

	if (k->opened == fd + 1)
		k->opened = 0;
	if (d) {
		ph_walk_hold(k->walk);
		ph_description_unname(d, fd);
	}
	return ph_syscall(PH_NR_close, fd, 0, 0, 0, 0, 0);
}

int64_t ph_k_ftruncate(struct ph_k *k, int64_t fd, int64_t size)
{
	return ph_layer_below(k, PH_NR_ftruncate, fd, size, 0, 0);
}

int64_t ph_k_lseek(struct ph_k *k, int64_t fd, int64_t offset, int64_t whence)
{
	return ph_layer_below(k, PH_NR_lseek, fd, offset, whence, 0);
}

int64_t ph_k_setfl(struct ph_k *k, int64_t fd, int64_t flags)
{
	int64_t now = ph_layer_below(k, PH_NR_fcntl, fd, PH_F_GETFL, 0, 0);

	return now < 0 ? now : ph_layer_below(k, PH_NR_fcntl, fd, PH_F_SETFL, now | flags, 0);
}

int64_t ph_k_setfd(struct ph_k *k, int64_t fd, int64_t bits)
{
	return ph_layer_below(k, PH_NR_fcntl, fd, PH_F_SETFD, bits, 0);
}

static int64_t write_all(struct ph_k *k, int64_t fd, struct ph_state *f, int64_t len, int64_t offset, bool positioned);

int64_t ph_k_write_all(struct ph_k *k, int64_t fd, struct ph_state *f, int64_t len)
{
	return write_all(k, fd, f, len, 0, false);
}

int64_t ph_k_pwrite_all(struct ph_k *k, int64_t fd, struct ph_state *f, int64_t len, int64_t offset)
{
	return write_all(k, fd, f, len, offset, true);
}

/* --- settling --- */

int64_t ph_settle(struct ph_k *k, int64_t fd)
{
	struct ph_description *d = ph_description_of(fd);
	uint64_t start = ph_below_begin(k);
	int64_t r = d ? ph_layer_settle(k->walk, k->layer, d, PH_WHY_COUNT) : 0;

	ph_below_end(k, start);
	return r;
}

int64_t ph_settle_all(struct ph_k *k)
{
	/* Before an open the dispatcher has decided what becomes of that which is kept for streams. */
	bool files = k->call && k->call->nr == PH_NR_openat && !ph_layers[k->layer].rule->streams;
	bool held = k->walk->held;
	uint64_t start;

	if (!ph_anything_pending())
		return 0;
	if (k->walk->trial) {
		k->walk->aborted = true;
		return -PH_EAGAIN;
	}
	if (files && !ph_files_pending())
		return 0;
	start = ph_below_begin(k);
	ph_walk_hold(k->walk);
	ph_settle_of_held(k->walk, files ? ph_file_layers : ~0u, PH_WHY_UNHANDLED);
	if (!held)
		ph_walk_release(k->walk);
	ph_below_end(k, start);
	return 0;
}

/* --- descriptors --- */

/* Makes sure that d's file is known. False in a trial that would need the kernel for it, and on failure. */
static bool identify(struct ph_k *k, struct ph_description *d)
{
	const struct ph_identity *id = &k->walk->known;

	if (d->identified)
		return true;
	if (k->walk->trial) {
		k->walk->aborted = true;
		return false;
	}
	if (ph_walk_identify(k->walk, d->fd) < 0)
		return false;
	d->dev = id->dev;
	d->ino = id->ino;
	d->regular = (id->mode & PH_S_IFMT) == PH_S_IFREG;
	ph_region.kept[ph_description_index(d)].size = (uint64_t)id->size;
	ph_region.kept[ph_description_index(d)].born_ns = id->born_ns;
	d->mount_rules = 0;
	for (uint32_t i = 0; i < ph_control->n_mounts && i < PH_MOUNTS_MAX; i++)
		if (ph_control->mounts[i].dev == id->dev)
			d->mount_rules = ph_control->mounts[i].rules;
	d->identified = true;
	return true;
}

struct ph_state *ph_file(struct ph_k *k, int64_t fd)
{
	struct ph_walk *walk = k->walk;
	const struct ph_layer *l = &ph_layers[k->layer];
	struct ph_description *d;
	struct ph_state *f;

	if (walk->trial) {
		walk->aborted = true;
		return NULL;
	}
	ph_walk_hold(walk);
	if (ph_window_any() || ph_window_stamp() != walk->stamp) {
		ph_count_why(k->layer, PH_WHY_SHARED);
		return NULL;
	}
	d = ph_description_of(fd);
	if (!d)
		d = ph_description_new(fd);
	if (d && l->rule->buffer_bytes && !d->buffer[k->layer])
		d->buffer[k->layer] = ph_buffer_take();
	if (!d || (l->rule->buffer_bytes && !d->buffer[k->layer])) {
		ph_count_why(k->layer, PH_WHY_FULL);
		return NULL;
	}
	f = ph_state_of(walk, d, k->layer);
	for (uint32_t i = 0; i < l->rule->state_bytes; i++)
		((uint8_t *)f)[i] = 0;
	d->handled |= 1u << k->layer;
	ph_keeper_opened(d, k->call);
	ph_keeper_unplace(d);
	return f;
}

void ph_release(struct ph_k *k, int64_t fd)
{
	struct ph_description *d = ph_description_of(fd);

	if (k->walk->trial) {
		k->walk->aborted = true;
	} else if (d) {
		ph_walk_hold(k->walk);
		ph_hits_gather(d);
		d->handled &= ~(1u << k->layer);
	}
}

bool ph_regular(struct ph_k *k, int64_t fd)
{
	struct ph_description *d = ph_description_of(fd);

	return d && identify(k, d) && d->regular && (d->mount_rules & (1u << ph_layers[k->layer].index));
}

/* A description that was shared loses its state, so one that has a state is private. */
bool ph_private(struct ph_k *k, int64_t fd)
{
	(void)k;
	return ph_description_of(fd) != NULL;
}

bool ph_alone(struct ph_k *k, int64_t fd)
{
	struct ph_description *d = ph_description_of(fd);

	if (k->walk->trial)		/* whoever opens the file again takes the state away */
		return d != NULL;
	return d && identify(k, d) && ph_fd_alone(d);
}

bool ph_single(struct ph_k *k)
{
	(void)k;
	return !ph_hold_threaded();
}

int64_t ph_unopened(struct ph_k *k, int64_t fd)
{
	(void)k;
	return !ph_hold_threaded() && ph_fd_unopened(fd);
}

int64_t ph_clones(struct ph_k *k, int64_t fd)
{
	enum { EXT_MAGIC = 0xef53, TMPFS_MAGIC = 0x01021994 };
	int64_t fs[15];		/* struct statfs: 120 bytes, f_type first */

	if (k->walk->trial) {
		k->walk->aborted = true;
		return 1;
	}
	if (ph_syscall(PH_NR_fstatfs, fd, (int64_t)fs, 0, 0, 0, 0) < 0)
		return 1;
	return fs[0] != EXT_MAGIC && fs[0] != TMPFS_MAGIC;
}

bool ph_writable(int64_t flags)
{
	return (flags & 3) == PH_O_WRONLY || (flags & 3) == PH_O_RDWR;
}

int64_t ph_size(struct ph_k *k, int64_t fd)
{
	int64_t r;

	if (k->walk->trial) {
		k->walk->aborted = true;
		return -PH_EAGAIN;
	}
	k->walk->known_fd = 0;		/* the size has to be today's */
	r = ph_walk_identify(k->walk, fd);
	return r < 0 ? r : k->walk->known.size;
}

int64_t ph_position(struct ph_k *k, int64_t fd)
{
	return ph_layer_below(k, PH_NR_lseek, fd, 0, PH_SEEK_CUR, 0);
}

/* --- the buffer --- */

int64_t ph_buffer_len(struct ph_state *f)
{
	return f->len;
}

int64_t ph_buffer_room(struct ph_k *k, struct ph_state *f)
{
	return (int64_t)ph_layers[k->layer].rule->buffer_bytes - f->len;
}

inline int64_t ph_buffer_append(struct ph_k *k, struct ph_state *f, int64_t user, int64_t n)
{
	uint8_t *buffer = ph_buffer_of(k->walk->d, k->layer);
	int64_t r;

	if (!buffer || n < 0 || n > ph_buffer_room(k, f))
		return -PH_EFAULT;
	r = ph_copy_in(buffer + f->len, (const void *)user, (size_t)n);
	if (r < 0)
		return r;
	f->len += n;
	return n;
}

#define VECTOR_MAX 16

struct piece {			/* struct iovec */
	int64_t at;
	uint64_t bytes;
};

static int64_t read_vector(int64_t iov, int64_t count, struct piece pieces[VECTOR_MAX])
{
	if (count < 0 || count > VECTOR_MAX)
		return -PH_EINVAL;
	return ph_copy_in(pieces, (const void *)iov, (size_t)count * sizeof(struct piece));
}

int64_t ph_vector_total(struct ph_k *k, int64_t iov, int64_t count)
{
	struct piece pieces[VECTOR_MAX];
	int64_t r = read_vector(iov, count, pieces), total = 0;

	(void)k;
	for (int64_t i = 0; r == 0 && i < count; i++) {
		if (pieces[i].bytes > INT32_MAX)
			return -PH_EINVAL;
		total += (int64_t)pieces[i].bytes;
	}
	return r < 0 ? r : total;
}

int64_t ph_buffer_append_vector(struct ph_k *k, struct ph_state *f, int64_t iov, int64_t count)
{
	struct piece pieces[VECTOR_MAX];
	int64_t r = read_vector(iov, count, pieces), before = f->len;

	for (int64_t i = 0; r >= 0 && i < count; i++)
		r = ph_buffer_append(k, f, pieces[i].at, (int64_t)pieces[i].bytes);
	if (r < 0) {
		f->len = before;
		return r;
	}
	return f->len - before;
}

void ph_buffer_clear(struct ph_state *f)
{
	f->len = 0;
}

static int64_t write_all(struct ph_k *k, int64_t fd, struct ph_state *f, int64_t len, int64_t offset, bool positioned)
{
	struct ph_description *d = k->walk->d;
	uint8_t *buffer = ph_buffer_of(d, k->layer);
	int64_t done = 0;
	bool moved;

	(void)f;
	if (!buffer || len < 0 || len > PH_BUFFER_MAX)
		return -PH_EFAULT;
	moved = ph_region.kept[ph_description_index(d)].moved;
	if (!k->walk->trial && k->walk->again)
		done = ph_keeper_appended(d, fd, buffer, len);
	while (done < len) {
		int64_t r = ph_layer_below(k, positioned ? PH_NR_pwrite64 : PH_NR_write, fd, (int64_t)(buffer + done), len - done,
				  offset + done);

		if (r == -PH_EINTR)
			continue;
		if (r < 0)
			return r;
		if (r == 0)	/* a regular file that takes nothing and gives no reason: the medium is full */
			return -PH_ENOSPC;
		done += r;
	}
	if (!positioned)
		ph_keeper_advance(d, len, moved);
	return len;
}

/* --- answers in the program's memory --- */

#define STAT_SIZE_AT 48
#define STAT_BLOCKS_AT 64

int64_t ph_stat_set_size(struct ph_k *k, int64_t statbuf, int64_t size)
{
	int64_t none = 0, r;

	if (k->walk->trial) {
		k->walk->aborted = true;
		return -PH_EAGAIN;
	}
	r = ph_copy_out((void *)(statbuf + STAT_SIZE_AT), &size, sizeof(size));
	if (r == 0 && size == 0)
		r = ph_copy_out((void *)(statbuf + STAT_BLOCKS_AT), &none, sizeof(none));
	return r;
}

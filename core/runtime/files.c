/* Mechanisms of rules that read ahead or put off syncs: see rule.h. The clock is in clock.c. */
#include "layers.h"
#include "numbers.h"

int64_t ph_k_fill(struct ph_k *k, int64_t fd, struct ph_state *f, int64_t offset)
{
	uint8_t *buffer = ph_buffer_of(k->walk->d, k->layer);
	int64_t r;

	f->len = 0;
	if (!buffer || offset < 0)
		return -PH_EBADF;
	r = ph_layer_below(k, PH_NR_pread64, fd, (int64_t)buffer, ph_layers[k->layer].rule->buffer_bytes, offset);
	if (r > 0)
		f->len = r;
	return r;
}

int64_t ph_buffer_give(struct ph_k *k, struct ph_state *f, int64_t user, int64_t offset, int64_t n)
{
	const uint8_t *buffer = ph_buffer_of(k->walk->d, k->layer);
	int64_t r;

	if (!buffer || offset < 0 || n < 0 || offset > f->len || n > f->len - offset)
		return -PH_EFAULT;
	r = ph_copy_out((void *)user, buffer + offset, (size_t)n);
	return r < 0 ? r : n;
}

int64_t ph_k_fsync(struct ph_k *k, int64_t fd)
{
	return ph_layer_below(k, PH_NR_fsync, fd, 0, 0, 0);
}

int64_t ph_k_fdatasync(struct ph_k *k, int64_t fd)
{
	return ph_layer_below(k, PH_NR_fdatasync, fd, 0, 0, 0);
}

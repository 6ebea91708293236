#define _GNU_SOURCE
#include "patches.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096ull

static int by_address(const void *a, const void *b)
{
	const struct ph_live_patch *p = *(const struct ph_live_patch *const *)a, *q = *(const struct ph_live_patch *const *)b;

	return p->at < q->at ? -1 : p->at > q->at;
}

static int make_span(const struct target *t, const struct ph_live_patch *const *patches, size_t n, struct span *s)
{
	s->at = patches[0]->at;
	s->n = 0;
	for (size_t i = 0; i < n; i++)
		if (patches[i]->at + patches[i]->length > s->at + s->n)
			s->n = patches[i]->at + patches[i]->length - s->at;
	s->before = malloc(2 * s->n);
	if (!s->before)
		return fail("out of memory");
	s->after = s->before + s->n;
	if (target_read(t, s->at, s->before, s->n) < 0)
		return fail("pid %d: its code can't be read", t->pid);
	memcpy(s->after, s->before, s->n);
	for (size_t i = 0; i < n; i++)
		memcpy(s->after + (patches[i]->at - s->at), patches[i]->bytes, patches[i]->length);
	target_write(t, s->at, s->before, 1);
	if ((s->at + s->n - 1) / PAGE != s->at / PAGE)
		target_write(t, s->at + s->n - 1, s->before + s->n - 1, 1);
	return 0;
}

int spans_make(const struct target *t, const struct ph_live *live, struct span **spans, size_t *n)
{
	const struct ph_live_patch **sorted = calloc(live->n_patches + 1, sizeof(*sorted));
	size_t from = 0;
	int r = 0;

	*n = 0;
	*spans = calloc(live->n_patches + 1, sizeof(**spans));
	if (!*spans || !sorted) {
		free(sorted);
		return fail("out of memory");
	}
	for (uint32_t i = 0; i < live->n_patches; i++)
		sorted[i] = &live->patches[i];
	qsort(sorted, live->n_patches, sizeof(sorted[0]), by_address);
	while (r == 0 && from < live->n_patches) {
		size_t to = from + 1;

		while (to < live->n_patches && sorted[to]->at / PAGE == sorted[from]->at / PAGE)
			to++;
		r = make_span(t, sorted + from, to - from, &(*spans)[(*n)++]);
		from = to;
	}
	free(sorted);
	return r;
}

int spans_write(const struct target *t, const struct span *spans, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (target_write(t, spans[i].at, spans[i].after, spans[i].n) == 0)
			continue;
		for (size_t back = 0; back <= i; back++)
			target_write(t, spans[back].at, spans[back].before, spans[back].n);
		return fail("pid %d: its code can't be written: %s", t->pid, strerror(errno));
	}
	return 0;
}

#define STACK_LOOKED_AT (1ull << 20)	/* signal frames of a thread lie within this of its stack pointer */
#define USER_CS 0x33ull
#define EFLAGS_ALWAYS 2ull

static bool in_a_run(const struct ph_live *live, uint64_t ip)
{
	for (uint32_t i = 0; i < live->n_patches; i++) {
		const struct ph_live_patch *p = &live->patches[i];

		if (p->run && ip > p->at && ip < p->resume)
			return true;
	}
	return false;
}

/* A signal frame holds ip, flags and code segment in this order. */
static bool stack_awaits(struct target *t, const struct ph_live *live, uint64_t sp)
{
	const struct mapping *m = target_mapping(t, sp);
	uint64_t *words, bytes;
	bool found = false;

	if (!m && target_read_maps(t) == 0)
		m = target_mapping(t, sp);
	if (!m)
		return true;
	sp &= ~7ull;
	bytes = m->end - sp < STACK_LOOKED_AT ? m->end - sp : STACK_LOOKED_AT;
	words = malloc(bytes + 8);
	if (!words || target_read(t, sp, words, bytes) < 0)
		found = true;
	for (uint64_t i = 0; !found && i + 2 < bytes / 8; i++)
		found = (words[i + 2] & 0xffff) == USER_CS && (words[i + 1] & EFLAGS_ALWAYS) && in_a_run(live, words[i]);
	free(words);
	return found;
}

bool patches_awaited(struct target *t, const struct ph_live *live)
{
	bool runs = false;

	for (uint32_t i = 0; i < live->n_patches; i++)
		runs = runs || live->patches[i].run;
	for (size_t i = 0; runs && i < t->n_threads; i++) {
		const struct thread *th = &t->threads[i];

		if (!th->gone && (th->in_kernel || stack_awaits(t, live, th->regs.rsp)))
			return true;
	}
	return false;
}

static bool restarts(const struct user_regs_struct *r)
{
	int64_t result = (int64_t)r->rax;

	return (int64_t)r->orig_rax >= 0 &&
	       ((result <= -512 && result >= -514) || result == -516 || result == -EINTR);
}

void patches_move(struct target *t, const struct ph_live *live, bool out)
{
	for (size_t i = 0; i < t->n_threads; i++) {
		struct thread *th = &t->threads[i];
		uint64_t to = 0;

		if (th->gone || !th->stopped)
			continue;
		for (uint32_t p = 0; p < live->n_patches && !to; p++) {
			const struct ph_live_patch *patch = &live->patches[p];

			if (out && patch->resume && th->regs.rip == patch->stub_after)
				to = patch->resume;
			else if (!out && patch->moved && th->regs.rip == patch->resume && restarts(&th->regs))
				to = patch->stub_after;
			else if (!out && patch->run && th->regs.rip > patch->at && th->regs.rip < patch->resume)
				to = patch->stub + (th->regs.rip - patch->at);
		}
		if (!to)
			continue;
		th->regs.rip = to;
		th->changed = true;
	}
}

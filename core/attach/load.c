#define _GNU_SOURCE
#include "load.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "threads.h"

#define PAGE 4096ull
#define STACK_BYTES (64 * 1024ull)
#define REACH (1ull << 30)	/* of a jump is twice that */
#define BESIDE (32ull << 20)	/* where jumps lead whose upper bytes are those of instructions that stay */
#define MARGIN (64ull << 20)	/* kept from what may grow towards us */
#define FAR (768ull << 20)	/* the same from a static program's heap */

static uint64_t pages(uint64_t n)
{
	return (n + PAGE - 1) & ~(PAGE - 1);
}

/* --- finding --------------------------------------------------------------------------------------------------- */

/* `name` among the exported symbols of an image in the target's memory, or 0. Ours are few. */
static uint64_t symbol(const struct target *t, uint64_t base, const char *name)
{
	Elf64_Ehdr e;
	Elf64_Phdr segments[16];
	Elf64_Dyn dynamic[64];
	uint64_t symbols = 0, strings = 0, strings_bytes = 0;
	bool moved;

	if (target_read(t, base, &e, sizeof(e)) < 0 || memcmp(e.e_ident, ELFMAG, SELFMAG) != 0 || e.e_phnum > 16 ||
	    target_read(t, base + e.e_phoff, segments, e.e_phnum * sizeof(segments[0])) < 0)
		return 0;
	for (unsigned i = 0; i < e.e_phnum; i++) {
		size_t n = segments[i].p_memsz < sizeof(dynamic) ? segments[i].p_memsz : sizeof(dynamic);

		if (segments[i].p_type != PT_DYNAMIC || target_read(t, base + segments[i].p_vaddr, dynamic, n) < 0)
			continue;
		for (unsigned d = 0; d < n / sizeof(dynamic[0]) && dynamic[d].d_tag; d++) {
			if (dynamic[d].d_tag == DT_SYMTAB)
				symbols = dynamic[d].d_un.d_ptr;
			if (dynamic[d].d_tag == DT_STRTAB)
				strings = dynamic[d].d_un.d_ptr;
			if (dynamic[d].d_tag == DT_STRSZ)
				strings_bytes = dynamic[d].d_un.d_val;
		}
	}
	moved = symbols >= base;	/* ld.so makes addresses of them */
	symbols += moved ? 0 : base;
	strings += moved ? 0 : base;
	for (uint64_t at = symbols; symbols && strings > symbols && at + sizeof(Elf64_Sym) <= strings && at < symbols + 4096;
	     at += sizeof(Elf64_Sym)) {
		char found[32] = "";
		Elf64_Sym s;

		if (target_read(t, at, &s, sizeof(s)) < 0 || s.st_name >= strings_bytes)
			return 0;
		for (size_t i = 0; i < sizeof(found) - 1; i++)
			if (target_read(t, strings + s.st_name + i, &found[i], 1) < 0 || !found[i])
				break;
		if (s.st_value && strcmp(found, name) == 0)
			return base + s.st_value;
	}
	return 0;
}

int load_reread(const struct target *t, struct loaded *l)
{
	return target_read(t, l->anchor_at, &l->anchor, sizeof(l->anchor));
}

static int believe(const struct target *t, uint64_t base, struct loaded *out)
{
	out->base = base;
	out->anchor_at = symbol(t, base, "ph_anchor");
	if (!out->anchor_at || load_reread(t, out) < 0 || out->anchor.magic != PH_LIVE_MAGIC)
		return 0;
	if (out->anchor.version != PH_LIVE_VERSION || out->anchor.size_bytes != sizeof(out->anchor) ||
	    out->anchor.live_bytes != sizeof(struct ph_live))
		return fail("pid %d was improved by another version of peephole; use that one", t->pid);
	return 1;
}

/* Loaded by ld.so it has its name; mapped by us it begins some mappings without a name. */
int load_find(const struct target *t, struct loaded *out)
{
	for (size_t i = 0; i < t->n_maps; i++) {
		const struct mapping *m = &t->maps[i];
		int r = 0;

		if (m->offset == 0 && (strncmp(mapping_name(m), "libpeephole.so", 14) == 0 ||
				       (!m->path[0] && strcmp(m->access, "r-xp") == 0)))
			r = believe(t, m->start, out);
		if (r)
			return r;
	}
	return 0;
}

/* --- mapping ---------------------------------------------------------------------------------------------------- */

struct library {
	const uint8_t *file;
	size_t bytes;
	const Elf64_Ehdr *header;
	const Elf64_Phdr *segments;
	uint64_t span, data;	/* the image's size; where what is written begins */
};

static int open_library(const char *path, struct library *lib)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *at = MAP_FAILED;

	if (fd >= 0 && fstat(fd, &st) == 0)
		at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (fd >= 0)
		close(fd);
	if (at == MAP_FAILED)
		return fail("%s: %s", path, strerror(errno));
	*lib = (struct library){ .file = at, .bytes = (size_t)st.st_size, .header = at, .data = UINT64_MAX };
	lib->segments = (const Elf64_Phdr *)(lib->file + lib->header->e_phoff);
	for (unsigned i = 0; i < lib->header->e_phnum; i++) {
		const Elf64_Phdr *p = &lib->segments[i];

		if (p->p_type != PT_LOAD)
			continue;
		if (p->p_vaddr + p->p_memsz > lib->span)
			lib->span = pages(p->p_vaddr + p->p_memsz);
		if ((p->p_flags & PF_W) && p->p_vaddr < lib->data)
			lib->data = p->p_vaddr & ~(PAGE - 1);
	}
	return 0;
}

static void relocate(const struct library *lib, uint8_t *image, uint64_t base)
{
	const Elf64_Dyn *dynamic = NULL;
	uint64_t table = 0, bytes = 0;

	for (unsigned i = 0; i < lib->header->e_phnum; i++)
		if (lib->segments[i].p_type == PT_DYNAMIC)
			dynamic = (const Elf64_Dyn *)(image + lib->segments[i].p_vaddr);
	for (const Elf64_Dyn *d = dynamic; d && d->d_tag; d++) {
		table = d->d_tag == DT_RELA ? d->d_un.d_ptr : table;
		bytes = d->d_tag == DT_RELASZ ? d->d_un.d_val : bytes;
	}
	for (const Elf64_Rela *r = (const Elf64_Rela *)(image + table); bytes >= sizeof(*r); r++, bytes -= sizeof(*r)) {
		const Elf64_Sym *s;
		const Elf64_Dyn *d = dynamic;
		uint64_t value = base + (uint64_t)r->r_addend;

		while (d->d_tag && d->d_tag != DT_SYMTAB)
			d++;
		s = (const Elf64_Sym *)(image + d->d_un.d_ptr) + ELF64_R_SYM(r->r_info);
		if (ELF64_R_TYPE(r->r_info) == R_X86_64_GLOB_DAT || ELF64_R_TYPE(r->r_info) == R_X86_64_64)
			value += s->st_value;
		memcpy(image + r->r_offset, &value, 8);
	}
}

/* Room without neighbours that grow into it, as close to `near` as can be without taking what short jumps from there reach. */
static uint64_t find_gap(const struct target *t, uint64_t near, uint64_t bytes)
{
	uint64_t best = 0, best_cost = UINT64_MAX;

	for (size_t i = 0; i + 1 < t->n_maps; i++) {
		uint64_t from = t->maps[i].end, to = t->maps[i + 1].start, at;

		if (from < (1ull << 16) || to < from + bytes + 2 * PAGE || to > (1ull << 47))
			continue;
		if (to - from > bytes + 4 * MARGIN)
			at = to <= near ? to - MARGIN - bytes : from + (to - from > 2 * REACH ? FAR : 2 * MARGIN);
		else
			at = from + (to - from - bytes) / 2;
		at = pages(at);
		uint64_t distance = at > near ? at - near : near - at, cost = distance < BESIDE ? REACH - distance : distance;

		if (cost < best_cost && distance + bytes < REACH) {
			best = at;
			best_cost = cost;
		}
	}
	return best;
}

static int map_at(struct target *t, struct thread *th, uint64_t at, uint64_t bytes, uint64_t writable_from)
{
	const uint64_t mmap_args[6] = { at, bytes, PROT_READ | PROT_EXEC,
					MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, (uint64_t)-1, 0 };
	const uint64_t protect_args[6] = { at + writable_from, bytes - writable_from, PROT_READ | PROT_WRITE };
	int64_t r;

	if (thread_syscall(t, th, SYS_mmap, mmap_args, &r) < 0)
		return -1;
	if (r == -EEXIST)
		return 1;
	if (r != (int64_t)at)
		return fail("pid %d: no memory for the runtime: %s", t->pid, strerror((int)-r));
	if (thread_syscall(t, th, SYS_mprotect, protect_args, &r) < 0)
		return -1;
	return r < 0 ? fail("pid %d: mprotect: %s", t->pid, strerror((int)-r)) : 0;
}

static uint64_t live_offset(void)
{
	return STACK_BYTES;
}

static uint64_t room_bytes(size_t lists_bytes)
{
	return pages(STACK_BYTES + sizeof(struct ph_live) + lists_bytes + PAGE);
}

uint64_t load_stack(const struct loaded *l)
{
	return l->anchor.live + STACK_BYTES - 64;
}

uint64_t load_lists(const struct loaded *l)
{
	return pages(l->anchor.live + live_offset() + sizeof(struct ph_live));
}

static int remember_room(struct target *t, struct loaded *l, uint64_t at, uint64_t bytes)
{
	l->anchor.live = at;
	l->anchor.live_mapped_bytes = bytes;
	return target_write(t, l->anchor_at, &l->anchor, sizeof(l->anchor)) < 0 ?
		       fail("pid %d: its memory can't be written", t->pid) : 0;
}

static int write_image(struct target *t, const struct library *lib, uint64_t base)
{
	uint8_t *image = calloc(1, lib->span);
	int r = 0;

	if (!image)
		return fail("out of memory");
	for (unsigned i = 0; i < lib->header->e_phnum; i++)
		if (lib->segments[i].p_type == PT_LOAD)
			memcpy(image + lib->segments[i].p_vaddr, lib->file + lib->segments[i].p_offset, lib->segments[i].p_filesz);
	relocate(lib, image, base);
	for (unsigned i = 0; i < lib->header->e_phnum && r == 0; i++)
		if (lib->segments[i].p_type == PT_LOAD)
			r = target_write(t, base + lib->segments[i].p_vaddr, image + lib->segments[i].p_vaddr,
					 lib->segments[i].p_filesz);
	free(image);
	return r < 0 ? fail("pid %d: its memory can't be written: %s", t->pid, strerror(errno)) : 0;
}

int load_map(struct target *t, const char *library, uint64_t near, size_t lists_bytes, uint64_t *lent_us,
	     struct loaded *out)
{
	struct library lib = { 0 };
	int r = open_library(library, &lib);

	for (int i = 0; r == 0 && i < 8; i++) {
		uint64_t bytes = lib.span + room_bytes(lists_bytes), at = find_gap(t, near, bytes), begin;
		struct thread *th;

		if (!at)
			return fail("pid %d has no free room of %lu bytes within reach of its code", t->pid, bytes);
		begin = now_us();
		th = thread_borrow(t, 0, 0);
		if (!th)
			return -1;
		r = map_at(t, th, at, bytes, lib.data);
		threads_release(t);
		*lent_us += now_us() - begin;
		if (r == 0)
			r = write_image(t, &lib, at);
		if (r == 0)
			return believe(t, at, out) == 1 ? remember_room(t, out, at + lib.span, bytes - lib.span) :
							   fail("%s: not a runtime for this program", library);
		if (r > 0)	/* something was mapped there just now */
			r = target_read_maps(t);
	}
	return r < 0 ? r : fail("pid %d maps memory faster than room can be found; try again", t->pid);
}

int load_room(struct target *t, struct loaded *l, size_t lists_bytes, uint64_t *lent_us)
{
	uint64_t bytes = room_bytes(lists_bytes), begin = now_us(), at;
	struct thread *th;
	int r;

	if (l->anchor.live && l->anchor.live_mapped_bytes >= bytes)
		return 0;
	at = find_gap(t, l->base, bytes);
	if (!at)
		return fail("pid %d has no free room of %lu bytes near its code", t->pid, bytes);
	th = thread_borrow(t, l->anchor.code, l->anchor.code_end);
	if (!th)
		return -1;
	r = map_at(t, th, at, bytes, 0);
	threads_release(t);
	*lent_us += now_us() - begin;
	if (r > 0)
		return fail("pid %d maps memory faster than room can be found; try again", t->pid);
	return r < 0 ? r : remember_room(t, l, at, bytes);
}

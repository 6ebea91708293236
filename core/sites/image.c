#define _GNU_SOURCE
#include "image.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const Elf64_Ehdr *header(const struct image *image)
{
	return (const Elf64_Ehdr *)image->file;
}

static const Elf64_Phdr *segments(const struct image *image)
{
	return (const Elf64_Phdr *)(image->file + header(image)->e_phoff);
}

const uint8_t *image_at(const struct image *image, uint64_t address, size_t bytes)
{
	for (unsigned i = 0; i < header(image)->e_phnum; i++) {
		const Elf64_Phdr *p = &segments(image)[i];

		if (p->p_type == PT_LOAD && address >= p->p_vaddr && address - p->p_vaddr <= p->p_filesz &&
		    bytes <= p->p_filesz - (address - p->p_vaddr) &&
		    p->p_offset + (address - p->p_vaddr) + bytes <= image->file_bytes)
			return image->file + p->p_offset + (address - p->p_vaddr);
	}
	return NULL;
}

static int add_function(struct image *image, uint64_t start, uint64_t end)
{
	if (start < image->text_start || end > image->text_start + image->text_bytes || start >= end)
		return 0;
	if (image->n_functions == image->room) {
		size_t room = image->room ? image->room * 2 : 4096;
		struct function *grown = realloc(image->functions, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		image->functions = grown;
		image->room = room;
	}
	image->functions[image->n_functions++] = (struct function){ start, end };
	return 0;
}

static int32_t read_s32(const uint8_t *p)
{
	int32_t v;

	memcpy(&v, p, 4);
	return v;
}

#define PCREL_SDATA4 0x1b
#define DATAREL_SDATA4 0x3b

/* A signal frame's code begins one byte after its FDE does, so a walk from there would decode nonsense. */
static int is_signal_frame(const struct image *image, uint64_t fde)
{
	const uint8_t *p = image_at(image, fde, 8), *augmentation;

	if (!p)
		return 1;
	augmentation = image_at(image, fde + 4 - (uint32_t)read_s32(p + 4) + 9, 8);
	return !augmentation || memchr(augmentation, 'S', strnlen((const char *)augmentation, 8)) != NULL;
}

/* Addresses and ranges of an FDE are taken in the one encoding that gcc and clang emit on x86-64: pcrel sdata4. */
static int functions_of_eh_frame(struct image *image, uint64_t hdr_address)
{
	const uint8_t *hdr = image_at(image, hdr_address, 12);
	uint32_t count;
	const uint8_t *table;

	if (!hdr || hdr[0] != 1 || hdr[1] != PCREL_SDATA4 || hdr[2] != 3 || hdr[3] != DATAREL_SDATA4)
		return 0;
	memcpy(&count, hdr + 8, 4);
	table = image_at(image, hdr_address + 12, (size_t)count * 8);
	if (!table)
		return 0;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t start = hdr_address + (uint64_t)(int64_t)read_s32(table + 8 * i);
		uint64_t fde = hdr_address + (uint64_t)(int64_t)read_s32(table + 8 * i + 4);
		const uint8_t *p = image_at(image, fde, 16);
		int r;

		if (!p || is_signal_frame(image, fde) || fde + 8 + (uint64_t)(int64_t)read_s32(p + 8) != start)
			continue;
		r = add_function(image, start, start + (uint32_t)read_s32(p + 12));
		if (r < 0)
			return r;
	}
	return 0;
}

static int functions_of_symbols(struct image *image)
{
	const Elf64_Ehdr *e = header(image);

	if (e->e_shentsize != sizeof(Elf64_Shdr) ||
	    e->e_shoff + (uint64_t)e->e_shnum * sizeof(Elf64_Shdr) > image->file_bytes)
		return 0;
	const Elf64_Shdr *sections = (const Elf64_Shdr *)(image->file + e->e_shoff);

	for (unsigned i = 0; i < e->e_shnum; i++) {
		const Elf64_Shdr *s = &sections[i];

		if ((s->sh_type != SHT_SYMTAB && s->sh_type != SHT_DYNSYM) || s->sh_offset > image->file_bytes ||
		    s->sh_size > image->file_bytes - s->sh_offset)
			continue;
		const Elf64_Sym *symbols = (const Elf64_Sym *)(image->file + s->sh_offset);

		for (size_t j = 0; j < s->sh_size / sizeof(*symbols); j++) {
			unsigned type = ELF64_ST_TYPE(symbols[j].st_info);
			int r;

			if ((type != STT_FUNC && type != STT_GNU_IFUNC) || !symbols[j].st_size)
				continue;
			r = add_function(image, symbols[j].st_value, symbols[j].st_value + symbols[j].st_size);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* Go's table of functions, as Go 1.18 and later write it (src/internal/abi, pclntab): a header, then at pcln_at for each
 * function the distance of its entry from the text's start and of its record; entries are in order. */
struct go_table {
	uint32_t magic;
	uint8_t zero[2], quantum, pointer_bytes;
	uint64_t functions, files, text_start, names_at, units_at, files_at, pc_at, pcln_at;
};

#define GO_1_18 0xfffffff0u
#define GO_1_20 0xfffffff1u

static int functions_of_go_table(struct image *image, const Elf64_Shdr *s, uint64_t text)
{
	const uint8_t *at = image_at(image, s->sh_addr, s->sh_size), *entries;
	struct go_table table;

	if (!at || s->sh_size < sizeof(table))
		return 0;
	memcpy(&table, at, sizeof(table));
	if ((table.magic != GO_1_18 && table.magic != GO_1_20) || table.pointer_bytes != 8 || table.pcln_at > s->sh_size ||
	    table.functions > (s->sh_size - table.pcln_at) / 8)
		return 0;
	entries = at + table.pcln_at;
	if (table.text_start)		/* 0 before ld.so has relocated it */
		text = table.text_start;
	for (uint64_t i = 0; i + 1 < table.functions; i++) {
		int r = add_function(image, text + (uint32_t)read_s32(entries + 8 * i),
				     text + (uint32_t)read_s32(entries + 8 * (i + 1)));

		if (r < 0)
			return r;
	}
	return 0;
}

static int functions_of_go(struct image *image)
{
	const Elf64_Ehdr *e = header(image);
	const Elf64_Shdr *sections = (const Elf64_Shdr *)(image->file + e->e_shoff), *names;
	uint64_t text = image->text_start;

	if (e->e_shentsize != sizeof(Elf64_Shdr) || e->e_shstrndx >= e->e_shnum ||
	    e->e_shoff + (uint64_t)e->e_shnum * sizeof(Elf64_Shdr) > image->file_bytes)
		return 0;
	names = &sections[e->e_shstrndx];
	for (unsigned i = 0; i < e->e_shnum; i++) {
		uint64_t name = names->sh_offset + sections[i].sh_name;

		if (name + 16 > image->file_bytes)
			continue;
		if (strcmp((const char *)image->file + name, ".text") == 0)
			text = sections[i].sh_addr;
		if (strncmp((const char *)image->file + name, ".gopclntab", 16) == 0 ||
		    strncmp((const char *)image->file + name, ".data.rel.ro.gopclntab", 16) == 0)
			return functions_of_go_table(image, &sections[i], text);
	}
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct function *f = a, *g = b;

	if (f->start != g->start)
		return f->start < g->start ? -1 : 1;
	return f->end < g->end ? 1 : f->end > g->end ? -1 : 0;
}

static void sort_functions(struct image *image)
{
	size_t n = 0;

	qsort(image->functions, image->n_functions, sizeof(*image->functions), by_start);
	for (size_t i = 0; i < image->n_functions; i++)
		if (n == 0 || image->functions[i].start != image->functions[n - 1].start)
			image->functions[n++] = image->functions[i];
	image->n_functions = n;
}

static void find_build_id(struct image *image, const Elf64_Phdr *notes)
{
	const uint8_t *p = image_at(image, notes->p_vaddr, notes->p_filesz), *end = p ? p + notes->p_filesz : NULL;

	while (p && (size_t)(end - p) >= sizeof(Elf64_Nhdr)) {
		const Elf64_Nhdr *note = (const Elf64_Nhdr *)p;
		size_t name = (note->n_namesz + 3) & ~3u, desc = (note->n_descsz + 3) & ~3u;

		if (name + desc > (size_t)(end - p) - sizeof(*note))
			return;
		if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && note->n_descsz <= sizeof(image->build_id) &&
		    memcmp(p + sizeof(*note), "GNU", 4) == 0) {
			image->build_id_bytes = note->n_descsz;
			memcpy(image->build_id, p + sizeof(*note) + name, note->n_descsz);
			return;
		}
		p += sizeof(*note) + name + desc;
	}
}

static int map_file(const char *path, struct image *image)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *at;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || st.st_size < (off_t)sizeof(Elf64_Ehdr)) {
		close(fd);
		return -ENOEXEC;
	}
	at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (at == MAP_FAILED)
		return -errno;
	image->file = at;
	image->file_bytes = (size_t)st.st_size;
	return 0;
}

int image_open(const char *path, struct image *image)
{
	uint64_t eh_frame_hdr = 0;
	const Elf64_Ehdr *e;
	int r, executable = 0;

	memset(image, 0, sizeof(*image));
	r = map_file(path, image);
	if (r < 0)
		return r;
	e = header(image);
	if (memcmp(e->e_ident, ELFMAG, SELFMAG) != 0 || e->e_ident[EI_CLASS] != ELFCLASS64 ||
	    e->e_machine != EM_X86_64 || e->e_phentsize != sizeof(Elf64_Phdr) ||
	    e->e_phoff + (uint64_t)e->e_phnum * sizeof(Elf64_Phdr) > image->file_bytes)
		return -ENOEXEC;
	for (unsigned i = 0; i < e->e_phnum; i++) {
		const Elf64_Phdr *p = &segments(image)[i];

		if (p->p_type == PT_LOAD && (p->p_flags & PF_X)) {
			executable++;
			image->text_start = p->p_vaddr;
			image->text_bytes = p->p_filesz;
		} else if (p->p_type == PT_GNU_EH_FRAME) {
			eh_frame_hdr = p->p_vaddr;
		} else if (p->p_type == PT_NOTE && !image->build_id_bytes) {
			find_build_id(image, p);
		}
	}
	image->text = image_at(image, image->text_start, image->text_bytes);
	if (executable != 1 || !image->text || image->text_start + image->text_bytes > UINT32_MAX)
		return -ENOEXEC;
	if (eh_frame_hdr)
		r = functions_of_eh_frame(image, eh_frame_hdr);
	if (r == 0)
		r = functions_of_symbols(image);
	if (r == 0)
		r = functions_of_go(image);
	if (r == 0)
		sort_functions(image);
	return r;
}

const struct function *image_function(const struct image *image, uint64_t address)
{
	size_t low = 0, high = image->n_functions;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (image->functions[mid].start <= address)
			low = mid + 1;
		else
			high = mid;
	}
	/* Symbols may lie inside each other's range: look back past those that end before. */
	for (size_t i = low; i > 0 && i + 8 > low; i--)
		if (address < image->functions[i - 1].end)
			return &image->functions[i - 1];
	return NULL;
}

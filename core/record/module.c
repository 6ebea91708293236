#include "module.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwelf.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RULES (1 << 12)		/* a cache, by address; a collision is computed again */
#define SEGMENTS_MAX 16
#define EXPRESSION_PLT_MIN 4	/* operations of the linker's expression for its procedure linkage table */

struct symbol {
	uint64_t address, size;
	const char *name;
};

struct ph_module {
	int fd, debug_fd;
	Elf *elf, *debug_elf;
	Dwarf_CFI *cfi;
	Dwarf *dwarf;		/* lines; NULL: there are none */
	const unsigned char *id;	/* of the build; in the ELF file's own memory */
	ssize_t id_len;			/* below 1: it has none */
	int loaded;
	struct { uint64_t offset, size, address; } segments[SEGMENTS_MAX];
	int n_segments;
	struct symbol *symbols;
	size_t n_symbols;
	struct ph_rule *rules;
};

static void read_segments(struct ph_module *module)
{
	size_t n = 0;

	if (elf_getphdrnum(module->elf, &n))
		return;
	for (size_t i = 0; i < n && module->n_segments < SEGMENTS_MAX; i++) {
		GElf_Phdr phdr;

		if (!gelf_getphdr(module->elf, i, &phdr) || phdr.p_type != PT_LOAD)
			continue;
		module->segments[module->n_segments].offset = phdr.p_offset;
		module->segments[module->n_segments].size = phdr.p_filesz;
		module->segments[module->n_segments++].address = phdr.p_vaddr;
	}
}

static int by_address(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	return x->address < y->address ? -1 : x->address > y->address;
}

static void read_symbols(struct ph_module *module, Elf *elf, GElf_Word type)
{
	for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section));) {
		GElf_Shdr shdr;
		Elf_Data *data;
		size_t n;
		struct symbol *more;

		if (!gelf_getshdr(section, &shdr) || shdr.sh_type != type || !shdr.sh_entsize)
			continue;
		data = elf_getdata(section, NULL);
		n = shdr.sh_size / shdr.sh_entsize;
		more = data ? realloc(module->symbols, (module->n_symbols + n) * sizeof(*more)) : NULL;
		if (!more)
			continue;
		module->symbols = more;
		for (size_t i = 0; i < n; i++) {
			GElf_Sym symbol;

			if (!gelf_getsym(data, i, &symbol) || !symbol.st_value || symbol.st_shndx == SHN_UNDEF)
				continue;
			if (GELF_ST_TYPE(symbol.st_info) != STT_FUNC && GELF_ST_TYPE(symbol.st_info) != STT_GNU_IFUNC)
				continue;
			more[module->n_symbols++] = (struct symbol){ symbol.st_value, symbol.st_size,
								      elf_strptr(elf, shdr.sh_link, symbol.st_name) };
		}
	}
}

/* Debug information that lies apart: /usr/lib/debug/.build-id/xx/yyyy.debug */
static void open_debug(struct ph_module *module)
{
	char path[PATH_MAX] = "/usr/lib/debug/.build-id/";
	size_t at = strlen(path);

	module->dwarf = dwarf_begin_elf(module->elf, DWARF_C_READ, NULL);
	if (module->id_len < 2 || module->id_len > 64)
		return;
	for (ssize_t i = 0; i < module->id_len; i++)
		at += snprintf(path + at, sizeof(path) - at, i == 0 ? "%02x/" : "%02x", module->id[i]);
	snprintf(path + at, sizeof(path) - at, ".debug");
	module->debug_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (module->debug_fd < 0)
		return;
	module->debug_elf = elf_begin(module->debug_fd, ELF_C_READ_MMAP, NULL);
	if (!module->debug_elf)
		return;
	if (module->dwarf)
		dwarf_end(module->dwarf);
	module->dwarf = dwarf_begin_elf(module->debug_elf, DWARF_C_READ, NULL);
	read_symbols(module, module->debug_elf, SHT_SYMTAB);
}

struct ph_module *ph_module_new(const char *open_path)
{
	struct ph_module *module = calloc(1, sizeof(*module));
	const void *id = NULL;

	if (!module)
		return NULL;
	elf_version(EV_CURRENT);
	module->debug_fd = -1;
	module->fd = open(open_path, O_RDONLY | O_CLOEXEC);
	if (module->fd >= 0)
		module->elf = elf_begin(module->fd, ELF_C_READ, NULL);
	if (!module->elf || elf_kind(module->elf) != ELF_K_ELF) {
		ph_module_free(module);
		return NULL;
	}
	read_segments(module);
	module->id_len = dwelf_elf_gnu_build_id(module->elf, &id);
	module->id = id;
	return module;
}

static void load(struct ph_module *module)
{
	if (module->loaded)
		return;
	module->loaded = 1;
	module->cfi = dwarf_getcfi_elf(module->elf);
	read_symbols(module, module->elf, SHT_SYMTAB);
	open_debug(module);
	if (!module->n_symbols)
		read_symbols(module, module->elf, SHT_DYNSYM);
	qsort(module->symbols, module->n_symbols, sizeof(*module->symbols), by_address);
}

void ph_module_free(struct ph_module *module)
{
	if (!module)
		return;
	if (module->dwarf)
		dwarf_end(module->dwarf);
	if (module->cfi)
		dwarf_cfi_end(module->cfi);
	if (module->debug_elf)
		elf_end(module->debug_elf);
	if (module->elf)
		elf_end(module->elf);
	if (module->debug_fd >= 0)
		close(module->debug_fd);
	if (module->fd >= 0)
		close(module->fd);
	free(module->symbols);
	free(module->rules);
	free(module);
}

int ph_module_same(const struct ph_module *a, const struct ph_module *b)
{
	return a->id_len > 0 && a->id_len == b->id_len && !memcmp(a->id, b->id, a->id_len);
}

uint64_t ph_module_address(const struct ph_module *module, uint64_t file_offset)
{
	for (int i = 0; i < module->n_segments; i++) {
		uint64_t into = file_offset - module->segments[i].offset;

		if (file_offset >= module->segments[i].offset && into < module->segments[i].size)
			return module->segments[i].address + into;
	}
	return 0;
}

static void fill_cfa(struct ph_rule *rule, Dwarf_Frame *frame)
{
	Dwarf_Op *ops;
	size_t n;

	if (dwarf_frame_cfa(frame, &ops, &n) || !n)
		return;
	if (ops[0].atom >= DW_OP_breg0 && ops[0].atom <= DW_OP_breg31) {
		rule->cfa_register = ops[0].atom - DW_OP_breg0;
		rule->cfa_offset = ops[0].number;
	} else if (ops[0].atom == DW_OP_bregx) {
		rule->cfa_register = ops[0].number;
		rule->cfa_offset = ops[0].number2;
	} else {
		return;
	}
	if (rule->cfa_register >= PH_REGISTERS)
		return;
	if (n == 1)
		rule->cfa = PH_CFA_REGISTER;
	else if (n == 2 && ops[1].atom == DW_OP_deref)
		rule->cfa = PH_CFA_DEREF;
	else if (n >= EXPRESSION_PLT_MIN && rule->cfa_register == PH_RSP)
		rule->cfa = PH_CFA_PLT;
}

static void fill_register(struct ph_rule *rule, Dwarf_Frame *frame, int number)
{
	Dwarf_Op memory[3], *ops;
	size_t n;

	rule->where[number] = PH_LOST;
	if (dwarf_frame_register(frame, number, memory, &ops, &n))
		return;
	if (!n) {
		/* Without operations: lost when they are ours, kept when there are none at all. */
		rule->where[number] = ops ? PH_LOST : PH_SAME;
		return;
	}
	if (ops[0].atom != DW_OP_call_frame_cfa)
		return;
	if (n == 1) {
		rule->where[number] = PH_AT_CFA;
	} else if (ops[1].atom == DW_OP_plus_uconst) {
		rule->offset[number] = ops[1].number;
		rule->where[number] = n == 3 ? PH_IS_CFA : PH_AT_CFA;
	}
}

const struct ph_rule *ph_module_rule(struct ph_module *module, uint64_t address)
{
	static const struct ph_rule nothing;
	struct ph_rule *rule;
	Dwarf_Frame *frame;
	Dwarf_Addr start, end;
	bool is_signal;

	load(module);
	if (!module->rules)
		module->rules = calloc(RULES, sizeof(*module->rules));
	if (!module->rules)
		return &nothing;
	rule = &module->rules[(address ^ address >> 12) & (RULES - 1)];
	if (rule->address == address)
		return rule;
	memset(rule, 0, sizeof(*rule));
	rule->address = address;
	if (!module->cfi || dwarf_cfi_addrframe(module->cfi, address, &frame))
		return rule;
	fill_cfa(rule, frame);
	for (int number = 0; number < PH_REGISTERS; number++)
		if (number >= PH_R12 || number == PH_RBX || number == PH_RBP)
			fill_register(rule, frame, number);
	if (dwarf_frame_info(frame, &start, &end, &is_signal) >= 0)
		rule->signal = is_signal;
	free(frame);
	return rule;
}

static const struct symbol *find_symbol(const struct ph_module *module, uint64_t address)
{
	size_t low = 0, high = module->n_symbols;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (module->symbols[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	/* Aliases have one address; of those that cover it, the first is the oldest name. */
	for (size_t i = low; i-- > 0 && low - i < 8;) {
		const struct symbol *symbol = &module->symbols[i];

		if (address - symbol->address < (symbol->size ? symbol->size : 1))
			return symbol;
	}
	return NULL;
}

static void find_line(struct ph_module *module, uint64_t address, const char **file, int *line)
{
	Dwarf_Die unit;
	Dwarf_Line *found;

	if (!module->dwarf || !dwarf_addrdie(module->dwarf, address, &unit))
		return;
	found = dwarf_getsrc_die(&unit, address);
	if (!found)
		return;
	*file = dwarf_linesrc(found, NULL, NULL);
	dwarf_lineno(found, line);
}

void ph_module_describe(struct ph_module *module, uint64_t address, const char **function, const char **file, int *line)
{
	const struct symbol *symbol;

	load(module);
	symbol = find_symbol(module, address);
	*function = symbol ? symbol->name : NULL;
	*file = NULL;
	*line = 0;
	find_line(module, address, file, line);
}

uint64_t ph_module_object(const struct ph_module *module, const char *name)
{
	for (Elf_Scn *section = NULL; (section = elf_nextscn(module->elf, section));) {
		GElf_Shdr shdr;
		Elf_Data *data;

		if (!gelf_getshdr(section, &shdr) || shdr.sh_type != SHT_DYNSYM || !shdr.sh_entsize)
			continue;
		data = elf_getdata(section, NULL);
		for (size_t i = 0; data && i < shdr.sh_size / shdr.sh_entsize; i++) {
			GElf_Sym symbol;
			const char *found;

			if (!gelf_getsym(data, i, &symbol) || GELF_ST_TYPE(symbol.st_info) != STT_OBJECT)
				continue;
			found = elf_strptr(module->elf, shdr.sh_link, symbol.st_name);
			if (found && !strcmp(found, name))
				return symbol.st_value;
		}
	}
	return 0;
}

int ph_module_read(const struct ph_module *module, uint64_t address, void *out, size_t n)
{
	for (int i = 0; i < module->n_segments; i++) {
		uint64_t into = address - module->segments[i].address;

		if (address >= module->segments[i].address && into + n <= module->segments[i].size)
			return pread(module->fd, out, n, module->segments[i].offset + into) == (ssize_t)n ? 0 : -EIO;
	}
	return -ENOENT;
}

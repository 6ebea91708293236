/* What the engine reads of ELF files. */
#ifndef PH_RUNTIME_ELF_H
#define PH_RUNTIME_ELF_H

#include <stdint.h>

#define PT_LOAD 1
#define PT_DYNAMIC 2
#define PT_NOTE 4
#define PT_PHDR 6
#define PF_X 1
#define DT_HASH 4
#define DT_STRTAB 5
#define DT_SYMTAB 6
#define NT_GNU_BUILD_ID 3

struct header {			/* Elf64_Ehdr */
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, phoff, shoff;
	uint32_t flags;
	uint16_t ehsize, phentsize, phnum;
};

struct segment {		/* Elf64_Phdr */
	uint32_t type, flags;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

struct symbol {			/* Elf64_Sym */
	uint32_t name;
	uint8_t info, other;
	uint16_t section;
	uint64_t value, size;
};

#endif

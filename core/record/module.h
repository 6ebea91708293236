/* An ELF file that was mapped: how to unwind from each of its addresses, and what they are called. */
#ifndef PH_RECORD_MODULE_H
#define PH_RECORD_MODULE_H

#include <stddef.h>
#include <stdint.h>

/* The registers that unwinding follows, by their DWARF numbers. */
enum ph_register { PH_RBX = 3, PH_RBP = 6, PH_RSP = 7, PH_R12 = 12, PH_R13, PH_R14, PH_R15, PH_RIP, PH_REGISTERS };

enum ph_cfa { PH_CFA_NONE, PH_CFA_REGISTER, PH_CFA_PLT, PH_CFA_DEREF };
enum ph_where { PH_SAME, PH_AT_CFA, PH_IS_CFA, PH_LOST };

/* How the frame of one address gives its caller's registers. */
struct ph_rule {
	uint64_t address;
	int32_t cfa_offset;
	uint8_t cfa;		/* enum ph_cfa */
	uint8_t cfa_register;
	uint8_t signal;		/* a signal frame: the address is not one after a call */
	uint8_t where[PH_REGISTERS];	/* enum ph_where */
	int32_t offset[PH_REGISTERS];
};

struct ph_module;

/* Open the file; NULL when it is no ELF file that can be read. Symbols and unwind tables are read when first asked for. */
struct ph_module *ph_module_new(const char *open_path);
void ph_module_free(struct ph_module *module);
/* Whether both have the same build-id, and so the same code at the same addresses. */
int ph_module_same(const struct ph_module *a, const struct ph_module *b);
/* The address in the file's own space of a place in the file, or 0. */
uint64_t ph_module_address(const struct ph_module *module, uint64_t file_offset);
const struct ph_rule *ph_module_rule(struct ph_module *module, uint64_t address);
/* Name of the function, and where there is debug information the source file and line; NULL and 0 where unknown. */
/* The address of a variable that the file exports, or 0; and bytes of the file that lie at an address. */
uint64_t ph_module_object(const struct ph_module *module, const char *name);
int ph_module_read(const struct ph_module *module, uint64_t address, void *out, size_t n);
void ph_module_describe(struct ph_module *module, uint64_t address, const char **function, const char **file, int *line);

#endif

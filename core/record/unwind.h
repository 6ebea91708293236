/* From the copied top of a stack to the chain of callers: (library, function, line), as soon as it comes.
 *
 * The copied bytes are read here and dropped. What is spilled:
 *	frames.raw	each place once: library, function, source file, line and address as text, each with its NUL
 *	stacks.raw	each stack once: struct ph_stack_head, then so many struct ph_stack_frame, innermost first
 */
#ifndef PH_RECORD_UNWIND_H
#define PH_RECORD_UNWIND_H

#include <stdint.h>

struct ph_unwinder;
struct ph_python;
struct ph_registers;
struct ph_spill_file;

struct ph_stack_head {
	uint32_t frames;
	uint32_t reserved;
};

struct ph_stack_frame {
	uint64_t ip;
	uint32_t frame;		/* number in frames.raw, from 0 */
	uint32_t python;	/* 1: a frame of Python's own */
};

struct ph_unwinder *ph_unwinder_new(int folder);
void ph_unwinder_free(struct ph_unwinder *unwinder);
/* The number of the stack that begins with these registers and the bytes behind them, from 1; 0: nothing can be said.
 * `len` counts the registers, too. `python`: frames of Python's own (struct ph_python_frame), which take the place of those
 * of the interpreter's loop and what called it. */
uint32_t ph_unwind(struct ph_unwinder *unwinder, uint32_t pid, const struct ph_registers *registers, uint32_t len,
		   const void *python, uint32_t python_len);
/* `tell` is called for each process in which an interpreter of Python was mapped. */
void ph_unwinder_watch_python(struct ph_unwinder *unwinder, void (*tell)(void *, uint32_t, const struct ph_python *), void *context);
/* A process was born: it has its parent's mappings. */
void ph_unwinder_forked(struct ph_unwinder *unwinder, uint32_t parent, uint32_t child);
int ph_unwinder_flush(struct ph_unwinder *unwinder);
/* Stacks of processes that were gone, or whose first frame is in no file. */
uint64_t ph_unwinder_unknown(const struct ph_unwinder *unwinder);

#endif

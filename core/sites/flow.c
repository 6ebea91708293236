#include "flow.h"

#include <Zydis/Zydis.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_MAX 4096

static int push(struct flow *flow, uint64_t offset)
{
	if (offset >= flow->image->text_bytes)
		return 0;
	if (flow->n_work == flow->room) {
		size_t room = flow->room ? flow->room * 2 : 4096;
		uint32_t *grown = realloc(flow->work, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		flow->work = grown;
		flow->room = room;
	}
	flow->work[flow->n_work++] = (uint32_t)offset;
	return 0;
}

static int target(struct flow *flow, uint64_t offset)
{
	if (offset >= flow->image->text_bytes)
		return 0;
	flow->is[offset] |= FLOW_TARGET;
	return flow->is[offset] & FLOW_START ? 0 : push(flow, offset);
}

/* A rip-relative lea in a function may name a jump table of 32-bit distances from itself. Whatever lies there and
 * leads into the text counts as a branch target: too many forbid a patch, too few would break a program. Walked from
 * are only those at the table's beginning that lead into the function itself, and into no other instruction. */
static int table_targets(struct flow *flow, const struct table *from)
{
	const struct image *image = flow->image;
	bool believed = true;

	for (unsigned i = 0; i < TABLE_MAX; i++) {
		const uint8_t *p = image_at(image, from->table + 4 * i, 4);
		int32_t distance;
		uint64_t to;
		int r;

		if (!p)
			return 0;
		memcpy(&distance, p, 4);
		to = from->table + (uint64_t)(int64_t)distance;
		if (to - image->text_start >= image->text_bytes)
			return 0;
		if (to < from->function->start || to >= from->function->end ||
		    (flow->is[to - image->text_start] & (FLOW_START | FLOW_INSIDE)) == FLOW_INSIDE)
			believed = false;
		to -= image->text_start;
		flow->is[to] |= FLOW_TARGET;
		if (believed && !(flow->is[to] & FLOW_START)) {
			r = push(flow, to);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int note_table(struct flow *flow, const struct function *function, uint64_t table)
{
	const struct image *image = flow->image;

	if (!function || table - image->text_start < image->text_bytes)
		return 0;
	if (flow->n_tables == flow->tables_room) {
		size_t room = flow->tables_room ? flow->tables_room * 2 : 4096;
		struct table *grown = realloc(flow->tables, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		flow->tables = grown;
		flow->tables_room = room;
	}
	flow->tables[flow->n_tables++] = (struct table){ table, function };
	return 0;
}

static bool touches(ZydisRegister reg, ZydisRegister wide)
{
	return reg != ZYDIS_REGISTER_NONE &&
	       ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg) == wide;
}

static uint8_t describe(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *operands)
{
	uint8_t is = FLOW_START | FLOW_MOVES;

	for (unsigned i = 0; i < insn->operand_count; i++) {
		const ZydisDecodedOperand *o = &operands[i];

		if (o->type == ZYDIS_OPERAND_TYPE_REGISTER && (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)) {
			if (touches(o->reg.value, ZYDIS_REGISTER_RAX))
				is |= FLOW_SETS_AX;
			if (touches(o->reg.value, ZYDIS_REGISTER_RSP))
				is &= (uint8_t)~FLOW_MOVES;
		}
		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY && o->mem.base == ZYDIS_REGISTER_RIP)
			is &= (uint8_t)~FLOW_MOVES;
	}
	switch (insn->meta.category) {
	case ZYDIS_CATEGORY_CALL:
		is = (is & (uint8_t)~FLOW_MOVES) | FLOW_CALL | FLOW_SETS_AX;
		break;
	case ZYDIS_CATEGORY_COND_BR:
		is &= (uint8_t)~FLOW_MOVES;
		break;
	case ZYDIS_CATEGORY_UNCOND_BR:
	case ZYDIS_CATEGORY_RET:
		is = (is & (uint8_t)~FLOW_MOVES) | FLOW_STOPS;
		break;
	case ZYDIS_CATEGORY_SYSCALL:
	case ZYDIS_CATEGORY_SYSTEM:
	case ZYDIS_CATEGORY_INTERRUPT:
		is &= (uint8_t)~FLOW_MOVES;
		break;
	default:
		break;
	}
	if (insn->mnemonic == ZYDIS_MNEMONIC_UD2 || insn->mnemonic == ZYDIS_MNEMONIC_HLT)
		is = (is & (uint8_t)~FLOW_MOVES) | FLOW_STOPS;
	if (insn->mnemonic == ZYDIS_MNEMONIC_SYSCALL && insn->length == 2)
		is |= FLOW_SYSCALL | FLOW_SETS_AX;
	return is;
}

/* From one start along the straight line, until it ends or meets what was seen. */
static int walk_line(struct flow *flow, const ZydisDecoder *decoder, uint64_t offset)
{
	const struct image *image = flow->image;
	const struct function *f = image_function(image, image->text_start + offset);

	while (offset < image->text_bytes && !(flow->is[offset] & FLOW_START)) {
		ZydisDecodedInstruction insn;
		ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
		int r = 0;

		if (ZYAN_FAILED(ZydisDecoderDecodeFull(decoder, image->text + offset, image->text_bytes - offset, &insn,
						       operands)))
			return 0;
		flow->is[offset] |= describe(&insn, operands);
		flow->length[offset] = insn.length;
		for (unsigned i = 1; i < insn.length; i++)
			flow->is[offset + i] |= FLOW_INSIDE;
		for (unsigned i = 0; i < insn.operand_count_visible && r == 0; i++) {
			const ZydisDecodedOperand *o = &operands[i];

			if (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && o->imm.is_relative)
				r = target(flow, offset + insn.length + (uint64_t)o->imm.value.s);
			else if (insn.mnemonic == ZYDIS_MNEMONIC_LEA && o->type == ZYDIS_OPERAND_TYPE_MEMORY &&
				 o->mem.base == ZYDIS_REGISTER_RIP)
				r = note_table(flow, f, image->text_start + offset + insn.length +
								(uint64_t)o->mem.disp.value);
		}
		if (r < 0)
			return r;
		if (flow->is[offset] & FLOW_STOPS)
			return 0;
		offset += insn.length;
		/* Hand-written code may go on behind what unwind data covers (clone3 does); a compiler's function ends
		 * there, and with a call only when that never returns. */
		if (!f || image->text_start + offset >= f->end) {
			if (f && (flow->is[offset - insn.length] & FLOW_CALL))
				return 0;
			f = NULL;
			if (image_function(image, image->text_start + offset))
				return 0;
		}
	}
	return 0;
}

int flow_walk(struct flow *flow, const struct image *image)
{
	ZydisDecoder decoder;
	int r = 0;

	memset(flow, 0, sizeof(*flow));
	flow->image = image;
	flow->is = calloc(image->text_bytes, 1);
	flow->length = calloc(image->text_bytes, 1);
	if (!flow->is || !flow->length)
		return -ENOMEM;
	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (size_t i = 0; r == 0 && i < image->n_functions; i++)
		r = target(flow, image->functions[i].start - image->text_start);
	while (r == 0 && (flow->n_work || flow->n_tables)) {
		if (flow->n_work) {
			r = walk_line(flow, &decoder, flow->work[--flow->n_work]);
		} else {
			struct table table = flow->tables[--flow->n_tables];

			r = table_targets(flow, &table);
		}
	}
	return r;
}

int64_t flow_previous(const struct flow *flow, uint64_t offset)
{
	for (uint64_t back = 1; back <= 15 && back <= offset; back++) {
		uint64_t at = offset - back;

		if ((flow->is[at] & FLOW_START) && flow->length[at] == back)
			return (flow->is[at] & (FLOW_STOPS | FLOW_INSIDE)) ? -1 : (int64_t)at;
	}
	return -1;
}

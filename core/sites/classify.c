#include "classify.h"

#include <string.h>

#define MOV_EAX 0xb8
#define JUMP_BYTES 5
#define SYSCALL_BYTES 2
#define MOVED_MAX 18		/* what a stub has room for */
#define LOOK_BACK 64		/* instructions */

bool site_is_real(const struct flow *flow, uint64_t offset)
{
	return (flow->is[offset] & FLOW_SYSCALL) && !(flow->is[offset] & FLOW_INSIDE) &&
	       !(flow->is[offset + 1] & FLOW_START);
}

bool site_is_sigreturn(const struct flow *flow, uint64_t offset)
{
	static const uint8_t mov_rax_15[] = { 0x48, 0xc7, 0xc0, 15, 0, 0, 0 };

	return offset >= sizeof(mov_rax_15) &&
	       memcmp(flow->image->text + offset - sizeof(mov_rax_15), mov_rax_15, sizeof(mov_rax_15)) == 0;
}

/* mov eax, imm32 or xor eax, eax; -1 otherwise */
static int32_t constant_in_eax(const uint8_t *code, unsigned length)
{
	int32_t value;

	if (length == 5 && code[0] == MOV_EAX) {
		memcpy(&value, code + 1, 4);
		return value >= 0 ? value : PH_SITE_UNKNOWN;
	}
	if (length == 7 && code[0] == 0x48 && code[1] == 0xc7 && code[2] == 0xc0) {
		memcpy(&value, code + 3, 4);
		return value >= 0 ? value : PH_SITE_UNKNOWN;
	}
	if (length == 2 && (code[0] == 0x31 || code[0] == 0x33) && code[1] == 0xc0)
		return 0;
	return PH_SITE_UNKNOWN;
}

/* The number, where it is set on the straight line that leads to the instruction. */
static int32_t number(const struct flow *flow, uint64_t offset)
{
	for (unsigned i = 0; i < LOOK_BACK; i++) {
		int64_t at;

		if (flow->is[offset] & FLOW_TARGET)
			return PH_SITE_UNKNOWN;
		at = flow_previous(flow, offset);
		if (at < 0)
			return PH_SITE_UNKNOWN;
		if (flow->is[at] & FLOW_SETS_AX)
			return constant_in_eax(flow->image->text + at, flow->length[at]);
		offset = (uint64_t)at;
	}
	return PH_SITE_UNKNOWN;
}

static bool is_mov(const struct flow *flow, int64_t at)
{
	return at >= 0 && flow->length[at] == 5 && flow->image->text[at] == MOV_EAX;
}

/* Bytes of plain instructions right before `offset`, at least `enough`; 0 when a branch leads in between. */
static unsigned run_before(const struct flow *flow, uint64_t offset, unsigned enough)
{
	uint64_t at = offset;

	while (offset - at < enough) {
		int64_t previous;

		if (flow->is[at] & FLOW_TARGET)
			return 0;
		previous = flow_previous(flow, at);
		if (previous < 0 || !(flow->is[previous] & FLOW_MOVES) || offset - (uint64_t)previous > MOVED_MAX)
			return 0;
		at = (uint64_t)previous;
	}
	return (unsigned)(offset - at);
}

static unsigned run_after(const struct flow *flow, uint64_t offset, unsigned enough)
{
	uint64_t at = offset;

	while (at - offset < enough) {
		if (at >= flow->image->text_bytes || (flow->is[at] & (FLOW_TARGET | FLOW_INSIDE)) ||
		    !(flow->is[at] & FLOW_START) || !(flow->is[at] & FLOW_MOVES) ||
		    at + flow->length[at] - offset > MOVED_MAX)
			return 0;
		at += flow->length[at];
	}
	return (unsigned)(at - offset);
}

void site_classify(const struct flow *flow, uint64_t offset, struct ph_site *site)
{
	int64_t previous = (flow->is[offset] & FLOW_TARGET) ? -1 : flow_previous(flow, offset);
	uint64_t bytes = PH_SITE_BYTES, start;

	memset(site, 0, sizeof(*site));
	site->nr = number(flow, offset);
	if (is_mov(flow, previous)) {
		site->tier = PH_TIER_MOV;
		site->before = JUMP_BYTES;
	} else if ((site->before = (uint8_t)run_before(flow, offset, JUMP_BYTES - SYSCALL_BYTES))) {
		site->tier = PH_TIER_RUN;
	} else if ((site->after = (uint8_t)run_after(flow, offset + SYSCALL_BYTES, JUMP_BYTES - SYSCALL_BYTES))) {
		site->tier = PH_TIER_AFTER;
	} else {
		site->tier = PH_TIER_PUN;	/* whether its target is free is known only in the process */
	}
	start = offset - site->before;
	site->start = (uint32_t)(flow->image->text_start + start);
	site->length = (uint8_t)(site->before + SYSCALL_BYTES + site->after);
	if (start + bytes > flow->image->text_bytes)
		bytes = flow->image->text_bytes - start;
	memcpy(site->bytes, flow->image->text + start, bytes);
}

#include "classify.h"

#include <stdlib.h>
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

/* --- padding ------------------------------------------------------------------------------------------------- */

#define SHORT_MIN (-128)
#define SHORT_MAX 127

/* The nops of compilers and assemblers: what pads, and nothing else that could be code. */
static unsigned nop_bytes(const uint8_t *at, uint64_t left)
{
	unsigned prefixes = 0;

	while (prefixes < left && (at[prefixes] == 0x66 || at[prefixes] == 0x2e))
		prefixes++;
	if (prefixes < left && at[prefixes] == 0x90)
		return prefixes + 1;
	if (prefixes + 3 <= left && at[prefixes] == 0x0f && at[prefixes + 1] == 0x1f) {
		uint8_t modrm = at[prefixes + 2];
		unsigned bytes = prefixes + 3 + ((modrm & 7) == 4) + (modrm >> 6 == 1 ? 1 : modrm >> 6 == 2 ? 4 : 0);

		return bytes <= left ? bytes : 0;
	}
	return 0;
}

/* Bytes of padding that begin at `offset`: right behind an instruction that nothing falls through, never reached. */
static unsigned padding_at(const struct flow *flow, uint64_t offset)
{
	const struct image *image = flow->image;
	uint64_t at = offset, back = 1;

	while (back <= 15 && back <= offset && !(flow->is[offset - back] & FLOW_START))
		back++;
	if (back > 15 || back > offset || flow->length[offset - back] != back ||
	    !(flow->is[offset - back] & (FLOW_STOPS | FLOW_CALL)))
		return 0;
	while (at < image->text_bytes) {
		unsigned n = nop_bytes(image->text + at, image->text_bytes - at);

		if (!n)
			break;
		for (unsigned i = 0; i < n; i++)
			if (flow->is[at + i])
				return (unsigned)(at - offset);
		at += n;
	}
	return (unsigned)(at - offset);
}

/* Bytes of padding from each offset on that nobody has taken yet. */
static uint8_t *free_padding(const struct flow *flow)
{
	uint64_t bytes = flow->image->text_bytes;
	uint8_t *room = calloc(bytes + 1, 1);

	for (uint64_t at = 0; room && at < bytes; at++) {
		unsigned n = room[at] ? 0 : padding_at(flow, at);

		for (unsigned i = 0; i < n; i++)
			room[at + i] = (uint8_t)(n - i < 255 ? n - i : 255);
	}
	return room;
}

static void take(uint8_t *room, uint64_t at, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		room[at + i] = 0;
	for (uint64_t before = 1; before <= at && room[at - before] > before; before++)
		room[at - before] = (uint8_t)before;
}

/* The offset of padding of `n` bytes in reach of a short jump that ends at `end`, the `skip`th; or 0. */
static uint64_t near_pad(const uint8_t *room, uint64_t text_bytes, uint64_t end, unsigned n, unsigned skip)
{
	uint64_t first = end >= (uint64_t)-SHORT_MIN ? end + (uint64_t)(int64_t)SHORT_MIN : 0;

	for (uint64_t at = first; at <= end + SHORT_MAX && at < text_bytes; at++) {
		if (room[at] < n || at == end)
			continue;
		if (!skip--)
			return at;
		at += n - 1;
	}
	return 0;
}

/* Padding of five bytes, by way of at most `hops` times two bytes; what is found is taken. */
static bool find_pads(uint8_t *room, uint64_t text_bytes, uint64_t end, unsigned hops, int8_t *pads)
{
	uint64_t at = near_pad(room, text_bytes, end, PH_PAD_BYTES, 0);

	if (at) {
		take(room, at, PH_PAD_BYTES);
		*pads = (int8_t)(at - end);
		return true;
	}
	for (unsigned skip = 0; hops && (at = near_pad(room, text_bytes, end, SYSCALL_BYTES, skip)); skip++) {
		uint8_t before[2 * SYSCALL_BYTES + 255];
		uint64_t from = at > 255 ? at - 255 : 0;
		size_t n = at + SYSCALL_BYTES - from;

		memcpy(before, room + from, n);
		take(room, at, SYSCALL_BYTES);
		*pads = (int8_t)(at - end);
		if (find_pads(room, text_bytes, at + SYSCALL_BYTES, hops - 1, pads + 1))
			return true;
		memcpy(room + from, before, n);
	}
	*pads = 0;
	return false;
}

void site_pads(const struct flow *flow, struct ph_sites *sites)
{
	uint8_t *room = free_padding(flow);

	/* Fewer jumps first, for as many as that reaches. */
	for (unsigned hops = 0; room && hops < PH_PADS; hops++)
		for (uint32_t i = 0; i < sites->n; i++) {
			struct ph_site *site = &sites->sites[i];
			uint64_t end = site->start - flow->image->text_start + site->before + SYSCALL_BYTES;

			if (site->tier != PH_TIER_MOV && !site->pads[0])
				find_pads(room, flow->image->text_bytes, end, hops, site->pads);
		}
	free(room);		/* without memory, they go without */
}

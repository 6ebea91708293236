/* A library that comes while the program runs (dlopen). When its text has just been mapped nobody is in it, so it can be
 * patched as at the start, by its list. One without a list may come if no call with a constant number is in its text: what looks
 * like the instruction is data, or part of another one, in most libraries that hold it. */
#include "engine.h"

#include "elf.h"
#include "linux.h"

#define PAGE 4096ull
#define SEGMENTS_MAX 32
#define NOTE_BYTES 256
#define CHUNK 1000u
#define BEFORE 24u		/* bytes before a call in which its number is loaded */
#define NAME 256

int memcmp(const void *a, const void *b, size_t n);

static bool read_at(int64_t fd, void *to, uint64_t n, uint64_t at)
{
	return ph_syscall(NR_pread64, fd, (int64_t)to, (int64_t)n, (int64_t)at, 0, 0) == (int64_t)n;
}

/* The build-id in a note segment of the file, kept in `notes`. */
static void read_notes(int64_t fd, const struct segment *s, uint8_t notes[NOTE_BYTES], struct ph_object *object)
{
	uint64_t n = s->filesz < NOTE_BYTES ? s->filesz : NOTE_BYTES;

	if (!object->build_id_bytes && read_at(fd, notes, n, s->offset))
		object->build_id = ph_build_id(notes, notes + n, &object->build_id_bytes);
}

/* Which file's text lies at `at`, by the file itself. */
static bool identify(int64_t fd, uint64_t offset, uint64_t at, uint8_t notes[NOTE_BYTES], struct ph_object *object)
{
	struct header h;
	bool text = false;

	object->build_id_bytes = 0;
	if (!read_at(fd, &h, sizeof(h), 0) || memcmp(h.ident, "\177ELF", 4) != 0)
		return false;
	for (unsigned i = 0; i < h.phnum && i < SEGMENTS_MAX; i++) {
		struct segment s;

		if (!read_at(fd, &s, sizeof(s), h.phoff + i * sizeof(s)))
			return false;
		if (s.type == PT_NOTE)
			read_notes(fd, &s, notes, object);
		if (s.type != PT_LOAD || !(s.flags & PF_X) || (s.offset & ~(PAGE - 1)) != offset)
			continue;
		object->base = at - (s.vaddr & ~(PAGE - 1));
		text = true;
	}
	return text && object->build_id_bytes;
}

/* `mov eax, N` in front of a `syscall` at code + n. */
static bool number_before(const uint8_t *code, uint64_t n)
{
	for (uint64_t i = 0; i + 5 <= n; i++)
		if (code[i] == 0xb8 && code[i + 2] < 2 && !code[i + 3] && !code[i + 4])
			return true;
	return false;
}

static bool holds_call(uint64_t at, uint64_t bytes)
{
	uint8_t code[BEFORE + CHUNK + 1];

	for (uint64_t done = 0; done + 1 < bytes; done += CHUNK) {
		uint64_t before = done < BEFORE ? done : BEFORE, n = bytes - done < CHUNK + 1 ? bytes - done : CHUNK + 1;

		if (ph_copy_in(code, (const void *)(at + done - before), before + n) < 0)
			return bytes - done > PAGE;	/* behind the end of the file there is nothing to run */
		for (uint64_t i = before; i + 1 < before + n; i++)
			if (code[i] == 0x0f && code[i + 1] == 0x05 &&
			    number_before(code + (i < BEFORE ? 0 : i - BEFORE), i < BEFORE ? i : BEFORE))
				return true;
	}
	return false;
}

/* Every call that will be made from the mapping is seen, or there is none. */
static bool covered(int64_t fd, uint64_t offset, uint64_t at, uint64_t bytes)
{
	uint8_t notes[NOTE_BYTES];
	struct ph_object object = { 0 };
	const struct ph_sites *list = NULL;
	uint64_t lists_bytes;
	const uint8_t *lists;
	int missing;

	if (!identify(fd, offset, at, notes, &object))
		return !holds_call(at, bytes);
	lists = ph_lists_map(&lists_bytes);
	if (lists)
		list = ph_list_of(&object, lists, lists_bytes);
	if (!list) {
		missing = holds_call(at, bytes);
	} else {
		uint32_t from = ph_n_stubs;

		missing = ph_patch_object(&object, list);
		ph_patch_finish();
		ph_live_patched(from);
	}
	if (lists)
		ph_syscall(NR_munmap, (int64_t)lists, (int64_t)lists_bytes, 0, 0, 0, 0);
	return missing == 0;
}

void ph_late_map(struct ph_frame *f)
{
	static uint32_t busy;
	int64_t fd = (int32_t)f->a[4], n, at;
	char link[PH_FD_PATH], name[NAME];

	at = ph_syscall(NR_mmap, f->a[0], f->a[1], f->a[2], f->a[3], fd, f->a[5]);
	ph_answered(f, at);
	if (at < 0 && at > -4096)
		return;
	ph_fd_path(link, fd);
	n = ph_syscall(NR_readlinkat, AT_FDCWD, (int64_t)link, (int64_t)name, sizeof(name) - 1, 0, 0);
	name[n > 0 ? n : 0] = 0;
	/* Two at once: ld.so takes turns, so this is something else. */
	if (!ph_stack_is_small(name) && !__atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE)) {
		bool seen = covered(fd, (uint64_t)f->a[5], (uint64_t)at, (uint64_t)f->a[1]);

		__atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
		if (seen)
			return;
	}
	ph_disarm(PH_WHY_UNHANDLED);
	ph_engine.rules = false;
	ph_uncovered(PH_UNCOVERED_SITES, name);
}

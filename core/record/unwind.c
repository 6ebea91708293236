#include "unwind.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "mmaps.h"
#include "module.h"
#include "peephole/abi_record.h"
#include "python.h"
#include "spill.h"

#define FRAMES_MAX 32
#define ALL_FRAMES_MAX (FRAMES_MAX + PH_PYTHON_FRAMES_MAX)
#define PYTHON_LOOP "_PyEval_EvalFrameDefault"
#define FILES_MAX 1024
#define PROCESSES (1 << 12)	/* memory maps kept, by pid; older ones give way */
#define STACKS (1 << 16)	/* places of the table of known stacks and frames: half full at most */
#define AGAIN_NS 20000000	/* maps are read again at most so often when an address is in none */

struct mapping {
	uint64_t start, end, offset;
	const struct known_file *file;	/* NULL: more of them than can be known */
};

struct memory_map {
	uint32_t pid;
	int64_t read_ns;
	struct mapping *mappings;
	size_t n, room;
};

/* A file that was mapped. Those of one build-id (a library in many containers, a copy) share what is known of it. */
struct known_file {
	unsigned long dev, ino;
	char *path;
	struct ph_module *module;	/* NULL: it can't be read */
	int borrowed;			/* from an earlier file */
};

struct known_place {
	uint64_t hash;
	uint32_t number;	/* from 1 */
};

struct ph_unwinder {
	struct ph_spill_file frames_file, stacks_file;
	struct ph_mmaps *mmaps;	/* NULL: only /proc says what is mapped */
	struct memory_map maps[PROCESSES];
	struct known_file files[FILES_MAX];
	size_t n_files;
	struct known_place frames[STACKS], stacks[STACKS];
	uint8_t loops[STACKS / 16];	/* a bit a frame: it is the loop that runs Python's code */
	void (*tell)(void *context, uint32_t pid, const struct ph_python *python);
	void *told;
	uint32_t n_frames, n_stacks;
	uint64_t unknown;
	int err;
};

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

struct ph_unwinder *ph_unwinder_new(int folder)
{
	struct ph_unwinder *unwinder = calloc(1, sizeof(*unwinder));

	if (!unwinder)
		return NULL;
	unwinder->frames_file.fd = unwinder->stacks_file.fd = -1;
	if (ph_spill_file_init(&unwinder->frames_file, folder, "frames.raw") ||
	    ph_spill_file_init(&unwinder->stacks_file, folder, "stacks.raw")) {
		ph_unwinder_free(unwinder);
		return NULL;
	}
	unwinder->mmaps = ph_mmaps_new();
	return unwinder;
}

void ph_unwinder_free(struct ph_unwinder *unwinder)
{
	if (!unwinder)
		return;
	for (size_t i = 0; i < PROCESSES; i++)
		free(unwinder->maps[i].mappings);
	for (size_t i = 0; i < unwinder->n_files; i++) {
		if (!unwinder->files[i].borrowed)
			ph_module_free(unwinder->files[i].module);
		free(unwinder->files[i].path);
	}
	ph_mmaps_free(unwinder->mmaps);
	ph_spill_file_fini(&unwinder->frames_file);
	ph_spill_file_fini(&unwinder->stacks_file);
	free(unwinder);
}

static int is_file(const char *path, unsigned long ino)
{
	struct stat st;

	return !stat(path, &st) && st.st_ino == ino;
}

static struct ph_module *same_build(const struct ph_unwinder *unwinder, const struct ph_module *module)
{
	for (size_t i = 0; i < unwinder->n_files; i++)
		if (unwinder->files[i].module && ph_module_same(unwinder->files[i].module, module))
			return unwinder->files[i].module;
	return NULL;
}

static const struct known_file *file_of(struct ph_unwinder *unwinder, uint32_t pid, uint64_t start, uint64_t end,
					unsigned long dev, unsigned long ino, const char *path)
{
	char open_path[96];
	struct known_file *file;
	struct ph_module *earlier;

	for (size_t i = 0; i < unwinder->n_files; i++)
		if (unwinder->files[i].ino == ino && unwinder->files[i].dev == dev)
			return &unwinder->files[i];
	if (unwinder->n_files == FILES_MAX)
		return NULL;
	/* What is mapped, whatever lies under that name now, and in its own mount namespace. */
	snprintf(open_path, sizeof(open_path), "/proc/%u/map_files/%llx-%llx", pid, (unsigned long long)start,
		 (unsigned long long)end);
	file = &unwinder->files[unwinder->n_files];
	*file = (struct known_file){ .dev = dev, .ino = ino, .path = strdup(path), .module = ph_module_new(open_path) };
	if (!file->module && is_file(path, ino))
		file->module = ph_module_new(path);
	earlier = file->module ? same_build(unwinder, file->module) : NULL;
	if (earlier) {
		ph_module_free(file->module);
		file->module = earlier;
		file->borrowed = 1;
	}
	/* One that can't be read is remembered, too. */
	unwinder->n_files++;
	return file;
}

/* A new mapping takes the place of those that it overlaps. */
static void add_mapping(struct memory_map *map, const struct mapping *mapping)
{
	size_t kept = 0;

	for (size_t i = 0; i < map->n; i++)
		if (map->mappings[i].end <= mapping->start || map->mappings[i].start >= mapping->end)
			map->mappings[kept++] = map->mappings[i];
	map->n = kept;
	if (map->n == map->room) {
		struct mapping *more = realloc(map->mappings, (2 * map->room + 16) * sizeof(*more));

		if (!more)
			return;
		map->mappings = more;
		map->room = 2 * map->room + 16;
	}
	map->mappings[map->n++] = *mapping;
}

static int overlaps(const struct memory_map *map, const struct mapping *mapping)
{
	for (size_t i = 0; i < map->n; i++)
		if (map->mappings[i].end > mapping->start && map->mappings[i].start < mapping->end)
			return 1;
	return 0;
}

static struct memory_map *map_of(struct ph_unwinder *unwinder, uint32_t pid)
{
	struct memory_map *map = &unwinder->maps[pid & (PROCESSES - 1)];

	if (map->pid != pid) {
		map->pid = pid;
		map->n = 0;
		map->read_ns = 0;
	}
	return map;
}

static void look_for_python(struct ph_unwinder *unwinder, uint32_t pid, const struct mapping *mapping)
{
	struct ph_python python;
	uint64_t address;

	if (!unwinder->tell || !mapping->file || !mapping->file->module || !strstr(mapping->file->path, "python"))
		return;
	address = ph_module_address(mapping->file->module, mapping->offset);
	if (address && ph_python_in(mapping->file->module, mapping->start - address, &python))
		unwinder->tell(unwinder->told, pid, &python);
}

static void take_mapping(void *context, const struct ph_mmap *seen)
{
	struct ph_unwinder *unwinder = context;
	uint64_t end = seen->start + seen->len;
	struct mapping mapping = { seen->start, end, seen->offset, file_of(unwinder, seen->pid, seen->start, end,
				   seen->major << 20 | seen->minor, seen->ino, seen->path) };

	add_mapping(map_of(unwinder, seen->pid), &mapping);
	look_for_python(unwinder, seen->pid, &mapping);
}

static void drain_mmaps(struct ph_unwinder *unwinder)
{
	if (unwinder->mmaps)
		ph_mmaps_drain(unwinder->mmaps, take_mapping, unwinder);
}

void ph_unwinder_forked(struct ph_unwinder *unwinder, uint32_t parent, uint32_t child)
{
	struct memory_map *from, *to;

	drain_mmaps(unwinder);
	from = &unwinder->maps[parent & (PROCESSES - 1)];
	to = map_of(unwinder, child);
	if (from->pid != parent || from == to)
		return;
	/* The child may have executed something since, which then has its own mappings; they have precedence. */
	for (size_t i = 0; i < from->n; i++)
		if (!overlaps(to, &from->mappings[i]))
			add_mapping(to, &from->mappings[i]);
}

static int read_maps(struct ph_unwinder *unwinder, struct memory_map *map)
{
	char line[PATH_MAX + 128], path[32];
	FILE *file;

	map->read_ns = now_ns();
	snprintf(path, sizeof(path), "/proc/%u/maps", map->pid);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		unsigned long long start, end, offset;
		unsigned int major, minor;
		struct mapping mapping;
		unsigned long ino;
		char rights[5];
		int at = 0;

		if (sscanf(line, "%llx-%llx %4s %llx %x:%x %lu %n", &start, &end, rights, &offset, &major, &minor, &ino,
			   &at) < 7 || rights[2] != 'x' || !ino)
			continue;
		line[strcspn(line, "\n")] = 0;
		mapping = (struct mapping){ start, end, offset,
					    file_of(unwinder, map->pid, start, end, major << 20 | minor, ino, line + at) };
		add_mapping(map, &mapping);
		look_for_python(unwinder, map->pid, &mapping);
	}
	fclose(file);
	return 0;
}

static const struct mapping *look_in(const struct memory_map *map, uint64_t ip)
{
	for (size_t i = 0; i < map->n; i++)
		if (ip >= map->mappings[i].start && ip < map->mappings[i].end)
			return &map->mappings[i];
	return NULL;
}

/* What is in no file (the vdso, generated code) is looked for in vain, so not too often. */
static const struct mapping *find(struct ph_unwinder *unwinder, struct memory_map *map, uint64_t ip)
{
	const struct mapping *mapping = look_in(map, ip);

	if (mapping)
		return mapping;
	drain_mmaps(unwinder);
	mapping = look_in(map, ip);
	if (mapping || now_ns() - map->read_ns < AGAIN_NS || read_maps(unwinder, map))
		return mapping;
	return look_in(map, ip);
}

struct machine {
	uint64_t registers[PH_REGISTERS];
	const unsigned char *stack;
	uint64_t base;
	uint32_t len;
};

static int load(const struct machine *machine, uint64_t address, uint64_t *value)
{
	if (address < machine->base || address + 8 > machine->base + machine->len || address + 8 < 8)
		return -EFAULT;
	memcpy(value, machine->stack + (address - machine->base), 8);
	return 0;
}

static int find_cfa(const struct machine *machine, const struct ph_rule *rule, uint64_t *cfa)
{
	uint64_t value = machine->registers[rule->cfa_register] + rule->cfa_offset;

	switch ((enum ph_cfa)rule->cfa) {
	case PH_CFA_NONE:
		return -ENOENT;
	case PH_CFA_REGISTER:
		break;
	case PH_CFA_PLT:
		/* Its second instruction pushes: rsp + 8, and 8 more from the eleventh byte of a slot on. */
		value += (machine->registers[PH_RIP] & 15) >= 11 ? 8 : 0;
		break;
	case PH_CFA_DEREF:
		if (load(machine, value, &value))
			return -EFAULT;
		break;
	}
	*cfa = value;
	return 0;
}

/* The caller's registers in place of these; below 0 at the end, or where the copy ends. */
static int step(struct machine *machine, const struct ph_rule *rule)
{
	uint64_t next[PH_REGISTERS], cfa;
	int err = find_cfa(machine, rule, &cfa);

	if (err)
		return err;
	memcpy(next, machine->registers, sizeof(next));
	for (int number = PH_RBX; number < PH_REGISTERS; number++) {
		uint64_t place = cfa + (int64_t)rule->offset[number];

		if (number == PH_RSP || (number > PH_RSP && number < PH_R12) || (number > PH_RBX && number < PH_RBP))
			continue;
		switch ((enum ph_where)rule->where[number]) {
		case PH_SAME:
			break;
		case PH_AT_CFA:
			if (load(machine, place, &next[number])) {
				if (number == PH_RIP)
					return -EFAULT;
				next[number] = 0;
			}
			break;
		case PH_IS_CFA:
			next[number] = place;
			break;
		case PH_LOST:
			if (number == PH_RIP)
				return -ENOENT;
			next[number] = 0;
			break;
		}
	}
	next[PH_RSP] = cfa;
	if (rule->where[PH_RIP] != PH_AT_CFA || (cfa <= machine->registers[PH_RSP] && !rule->signal))
		return -ELOOP;
	memcpy(machine->registers, next, sizeof(next));
	return 0;
}

static uint64_t mixed(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15ull;
	return hash ^ hash >> 29;
}

/* The place of a hash in a table: its number, or 0 and where it can be put; full tables know nobody new. */
static struct known_place *look_up(struct known_place *table, uint64_t hash)
{
	size_t at = hash & (STACKS - 1);

	while (table[at].number && table[at].hash != hash)
		at = (at + 1) & (STACKS - 1);
	table[at].hash = hash;
	return &table[at];
}

static int put_text(struct ph_unwinder *unwinder, const char *text)
{
	return ph_spill_file_add(&unwinder->frames_file, text ? text : "", strlen(text ? text : "") + 1);
}

static void put_frame(struct ph_unwinder *unwinder, const char *path, const char *function, const char *file, int line,
		      uint64_t address)
{
	char numbers[32];

	unwinder->err |= put_text(unwinder, path);
	unwinder->err |= put_text(unwinder, function);
	unwinder->err |= put_text(unwinder, file);
	snprintf(numbers, sizeof(numbers), "%d", line);
	unwinder->err |= put_text(unwinder, numbers);
	snprintf(numbers, sizeof(numbers), "%llu", (unsigned long long)address);
	unwinder->err |= put_text(unwinder, numbers);
}

/* The number of a place in frames.raw, from 1; described the first time it is seen. */
static uint32_t frame_number(struct ph_unwinder *unwinder, const struct known_file *in, uint64_t address)
{
	struct known_place *place = look_up(unwinder->frames, mixed((uintptr_t)in, address));
	const char *function = NULL, *file = NULL;
	int line = 0;

	if (place->number)
		return place->number;
	if (unwinder->n_frames >= STACKS / 2)
		return 0;
	ph_module_describe(in->module, address, &function, &file, &line);
	put_frame(unwinder, in->path, function, file, line, address);
	if (function && !strncmp(function, PYTHON_LOOP, strlen(PYTHON_LOOP)))
		unwinder->loops[unwinder->n_frames / 8] |= 1u << unwinder->n_frames % 8;
	return place->number = ++unwinder->n_frames;
}

static uint64_t text_hash(uint64_t hash, const char *text)
{
	while (*text)
		hash = mixed(hash, (unsigned char)*text++);
	return hash;
}

static uint32_t python_number(struct ph_unwinder *unwinder, const char *function, const char *file, uint32_t line)
{
	struct known_place *place = look_up(unwinder->frames, text_hash(text_hash(line, function) + 1, file));

	if (place->number)
		return place->number;
	if (unwinder->n_frames >= STACKS / 2)
		return 0;
	put_frame(unwinder, NULL, function, file, (int)line, 0);
	return place->number = ++unwinder->n_frames;
}

/* Python's frames behind the n that there are; how many there are then. */
static uint32_t add_python(struct ph_unwinder *unwinder, const unsigned char *at, uint32_t len, struct ph_stack_frame *frames,
			   uint32_t n)
{
	const unsigned char *end = at + len;

	while ((size_t)(end - at) >= sizeof(struct ph_python_frame) && n < ALL_FRAMES_MAX) {
		const struct ph_python_frame *frame = (const void *)at;
		const char *name = (const char *)(frame + 1), *file = name + frame->name_len;
		uint32_t bytes = (sizeof(*frame) + frame->name_len + frame->file_len + 7) & ~7u, number;

		if (bytes > (size_t)(end - at))
			break;
		number = python_number(unwinder, frame->name_len ? name : "?", frame->file_len ? file : "?", frame->line);
		if (!number)
			break;
		frames[n++] = (struct ph_stack_frame){ .frame = number - 1, .python = 1 };
		at += bytes;
	}
	return n;
}

static uint32_t stack_number(struct ph_unwinder *unwinder, const struct ph_stack_frame *frames, uint32_t n)
{
	struct ph_stack_head head = { .frames = n };
	uint64_t hash = n;
	struct known_place *place;

	for (uint32_t i = 0; i < n; i++)
		hash = mixed(hash, frames[i].frame);
	place = look_up(unwinder->stacks, hash);
	if (place->number || unwinder->n_stacks >= STACKS / 2)
		return place->number;
	unwinder->err |= ph_spill_file_add(&unwinder->stacks_file, &head, sizeof(head));
	unwinder->err |= ph_spill_file_add(&unwinder->stacks_file, frames, n * sizeof(*frames));
	return place->number = ++unwinder->n_stacks;
}

uint32_t ph_unwind(struct ph_unwinder *unwinder, uint32_t pid, const struct ph_registers *from, uint32_t len,
		   const void *python, uint32_t python_len)
{
	struct machine machine = { .stack = (const unsigned char *)(from + 1), .base = from->sp, .len = len - sizeof(*from) };
	struct memory_map *map;
	struct ph_stack_frame frames[ALL_FRAMES_MAX];
	uint64_t *registers = machine.registers;
	uint32_t n = 0;
	int after_call = 0;

	drain_mmaps(unwinder);
	map = map_of(unwinder, pid);
	registers[PH_RIP] = from->ip;
	registers[PH_RSP] = from->sp;
	registers[PH_RBP] = from->bp;
	registers[PH_RBX] = from->bx;
	registers[PH_R12] = from->r12;
	registers[PH_R13] = from->r13;
	registers[PH_R14] = from->r14;
	registers[PH_R15] = from->r15;
	while (n < FRAMES_MAX && registers[PH_RIP]) {
		/* A return address may already belong to the next line, or the next function. */
		uint64_t ip = registers[PH_RIP] - after_call, address;
		const struct mapping *mapping = find(unwinder, map, ip);
		const struct ph_rule *rule;

		if (!mapping || !mapping->file || !mapping->file->module)
			break;
		address = ph_module_address(mapping->file->module, ip - mapping->start + mapping->offset);
		frames[n] = (struct ph_stack_frame){ .ip = registers[PH_RIP],
						     .frame = frame_number(unwinder, mapping->file, address) };
		if (!frames[n].frame--)
			break;
		if (python_len && unwinder->loops[frames[n].frame / 8] & 1u << frames[n].frame % 8)
			break;
		n++;
		rule = ph_module_rule(mapping->file->module, address);
		if (step(&machine, rule))
			break;
		after_call = !rule->signal;
	}
	n = add_python(unwinder, python, python_len, frames, n);
	if (!n)
		unwinder->unknown++;
	return n ? stack_number(unwinder, frames, n) : 0;
}

int ph_unwinder_flush(struct ph_unwinder *unwinder)
{
	int err = ph_spill_file_flush(&unwinder->frames_file);

	return err ? err : ph_spill_file_flush(&unwinder->stacks_file);
}

void ph_unwinder_watch_python(struct ph_unwinder *unwinder, void (*tell)(void *, uint32_t, const struct ph_python *), void *context)
{
	unwinder->tell = tell;
	unwinder->told = context;
}

uint64_t ph_unwinder_unknown(const struct ph_unwinder *unwinder)
{
	return unwinder->unknown;
}

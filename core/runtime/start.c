/* The constructor: finds the control page, cleans the environment, patches libc and ld.so. Runs before every other
 * constructor (-z initfirst), while there is one thread and nothing of the program has run. */
#include "engine.h"

#include "delay.h"
#include "elf.h"
#include "linux.h"
#include "ring.h"
#include "trap.h"

#define AT_SECURE 23
#define AT_HWCAP2 26
#define AT_IGNORE 1
#define AT_EXECFN 31
#define AT_PHDR 3
#define AT_PHNUM 5
#define DT_DEBUG 21
#define HWCAP2_FSGSBASE 2
#define PATH_ROOM 512
#define LIBRARY "libpeephole.so"

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);

PH_HOT_DATA struct ph_engine ph_engine;
extern const char __ehdr_start[];

static char control_path[PATH_ROOM], library_path[PATH_ROOM];
static char own_list[32];

/* ld.so's list of what it has loaded. */
struct link_map {
	uint64_t base;
	const char *name;
	void *dynamic;
	const struct link_map *next;
};
struct r_debug {
	int32_t version;
	const struct link_map *map;
};

/* --- environment ------------------------------------------------------------------------------------------- */

/* `control`: PATH, or PATH:1,2, the descriptors that are this process's own (ph_adopt). */
bool ph_set_paths(const char *control)
{
	size_t n = 0, folder = (size_t)(ph_basename(control) - control);

	while (control[n] && control[n] != ':')
		n++;
	if (control[0] != '/' || n + 32 > PATH_ROOM)
		return false;
	memcpy(control_path, control, n);
	control_path[n] = 0;
	if (control[n] && ph_strlen(control + n + 1) < sizeof(own_list))
		memcpy(own_list, control + n + 1, ph_strlen(control + n + 1) + 1);
	memcpy(library_path, control, folder);
	memcpy(library_path + folder, LIBRARY, sizeof(LIBRARY));
	ph_engine.control_path = control_path;
	ph_engine.library_path = library_path;
	return true;
}

static const char *find(char **envp, const char *prefix)
{
	for (; *envp; envp++) {
		const char *value = ph_after_prefix(*envp, prefix);

		if (value)
			return value;
	}
	return NULL;
}

/* What a LD_PRELOAD of ours names behind us (behind several of us, when one improved program starts another); NULL
 * when the string is not of ours. */
static char *behind_ours(char *string)
{
	const char *value = ph_after_prefix(string, "LD_PRELOAD="), *rest = NULL;

	while (value && *value == '/') {
		const char *end = value, *name = value;

		for (; *end && *end != ':'; end++)
			if (*end == '/')
				name = end + 1;
		if (end - name != sizeof(LIBRARY) - 1 || !ph_after_prefix(name, LIBRARY))
			break;
		rest = value = end + (*end == ':');
	}
	return (char *)rest;
}

static void wipe(char *string)
{
	memset(string, 0, ph_strlen(string));
}

/* Leaves of LD_PRELOAD what is the user's, in its place, and closes the gap in the array: the auxiliary vector has to
 * follow the environment's end at once (programs look for it there), so two freed places become an entry to ignore.
 * The launcher and exec.c add by twos; should one be left over, an empty string stays in its place. */
static void clean_environment(char **envp)
{
	unsigned n = 0, kept = 0, preloads = 0;
	char *wiped = NULL;

	for (; envp[n]; n++)
		preloads += ph_after_prefix(envp[n], "LD_PRELOAD=") != NULL;
	for (unsigned i = 0; i < n; i++) {
		char *string = envp[i], *theirs = behind_ours(string);

		if (theirs && preloads == 1 && *theirs) {
			size_t bytes = ph_strlen(theirs) + 1, all = ph_strlen(string) + 1;

			memmove(string + 11, theirs, bytes);
			memset(string + 11 + bytes, 0, all - 11 - bytes);
		} else if (theirs || ph_after_prefix(string, "PEEPHOLE_CONTROL=") ||
			   ph_after_prefix(string, "PEEPHOLE_PAIR=")) {
			wipe(string);
			wiped = string;
			continue;
		}
		envp[kept++] = string;
	}
	if ((n - kept) % 2)
		envp[kept++] = wiped;
	if (kept == n)
		return;
	uint64_t *gap = (uint64_t *)&envp[kept];

	*gap++ = 0;
	for (unsigned left = n - kept; left; left -= 2) {
		*gap++ = AT_IGNORE;
		*gap++ = 0;
	}
}

/* --- files of the launcher ----------------------------------------------------------------------------------- */

/* The whole file, mapped; NULL unless it belongs to us or root and nobody else can write it. */
static void *map_private_file(const char *path, bool shared, struct ph_stat *st)
{
	int64_t fd = ph_syscall(NR_openat, AT_FDCWD, (int64_t)path, (shared ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW,
				0, 0, 0);
	int64_t at = -1;

	if (fd < 0)
		return NULL;
	if (ph_syscall(NR_fstat, fd, (int64_t)st, 0, 0, 0, 0) == 0 && (st->st_mode & S_IFMT) == S_IFREG &&
	    (st->st_uid == 0 || st->st_uid == ph_syscall(NR_geteuid, 0, 0, 0, 0, 0, 0)) && !(st->st_mode & 022) &&
	    st->st_size > 0)
		at = ph_syscall(NR_mmap, 0, st->st_size, PROT_READ | (shared ? PROT_WRITE : 0),
				shared ? MAP_SHARED : MAP_PRIVATE | MAP_POPULATE, fd, 0);
	ph_syscall(NR_close, fd, 0, 0, 0, 0, 0);
	return at < 0 && at > -4096 ? NULL : (void *)at;
}

bool ph_open_control(void)
{
	struct ph_stat st;
	struct ph_control *control = map_private_file(control_path, true, &st);

	if (!control)
		return false;
	if (st.st_size != sizeof(*control) || control->magic != PH_CONTROL_MAGIC ||
	    control->version != PH_CONTROL_VERSION || control->size_bytes != sizeof(*control)) {
		ph_syscall(NR_munmap, (int64_t)control, st.st_size, 0, 0, 0, 0);
		return false;
	}
	ph_engine.control = control;
	ph_engine.control_id = (struct ph_identity_of_file){ st.st_dev, st.st_ino };
	if (ph_syscall(NR_newfstatat, AT_FDCWD, (int64_t)library_path, (int64_t)&st, 0, 0, 0) == 0)
		ph_engine.library_id = (struct ph_identity_of_file){ st.st_dev, st.st_ino };
	return true;
}

/* --- objects --------------------------------------------------------------------------------------------------- */

/* What makes system calls on the program's behalf; each that is mapped has to be known. */
static bool is_system_library(const char *name)
{
	name = ph_basename(name);
	return ph_after_prefix(name, "libc.so.") || ph_after_prefix(name, "ld-linux") ||
	       ph_after_prefix(name, "libpthread.so.") || ph_after_prefix(name, "librt.so.");
}

const uint8_t *ph_build_id(const uint8_t *p, const uint8_t *end, uint32_t *bytes)
{
	while (p + 12 <= end) {
		const uint32_t *note = (const uint32_t *)p;	/* name bytes, value bytes, type */
		uint64_t name = (note[0] + 3ull) & ~3ull, value = (note[1] + 3ull) & ~3ull;

		if (name + value > (uint64_t)(end - p) - 12)
			break;
		if (note[2] == NT_GNU_BUILD_ID && note[0] == 4 && memcmp(p + 12, "GNU", 4) == 0) {
			*bytes = note[1];
			return p + 12 + name;
		}
		p += 12 + name + value;
	}
	return NULL;
}

/* Of the image whose header is mapped at `header`, and whose addresses are `base` further on. */
static bool find_build_id(uint64_t header, uint64_t base, struct ph_object *object)
{
	const struct header *h = (const struct header *)header;
	const struct segment *segments = (const struct segment *)(header + h->phoff);

	/* A file whose addresses do not begin at 0 has no header there. The kernel is asked: nobody catches faults yet. */
	if (ph_syscall(NR_faccessat, AT_FDCWD, (int64_t)header, 0, 0, 0, 0) == -EFAULT || memcmp(h->ident, "\177ELF", 4) != 0)
		return false;
	object->base = base;
	object->build_id = NULL;
	for (unsigned i = 0; i < h->phnum && !object->build_id; i++) {
		const uint8_t *p = (const uint8_t *)(base + segments[i].vaddr);

		if (segments[i].type == PT_NOTE)
			object->build_id = ph_build_id(p, p + segments[i].filesz, &object->build_id_bytes);
	}
	return object->build_id != NULL;
}

const struct ph_sites *ph_list_of(const struct ph_object *object, const uint8_t *lists, uint64_t bytes)
{
	uint64_t at = 0;

	while (at + sizeof(struct ph_sites) <= bytes) {
		const struct ph_sites *list = (const struct ph_sites *)(lists + at);

		if (list->magic != PH_SITES_MAGIC || list->version != PH_SITES_VERSION ||
		    list->n > (bytes - at - sizeof(*list)) / sizeof(list->sites[0]))
			return NULL;
		if (list->build_id_bytes == object->build_id_bytes && list->build_id_bytes <= sizeof(list->build_id) &&
		    memcmp(list->build_id, object->build_id, list->build_id_bytes) == 0)
			return list;
		at += sizeof(*list) + list->n * sizeof(list->sites[0]);
	}
	return NULL;
}

static bool find_list(uint64_t header, uint64_t base, const uint8_t *lists, uint64_t bytes, struct ph_found *out)
{
	if (!find_build_id(header, base, &out->object))
		return false;
	out->list = ph_list_of(&out->object, lists, bytes);
	return out->list != NULL;
}

static const struct link_map *loaded;
static uint64_t program_header;	/* of the program itself */
static bool go_program;

/* Go marks its programs by a note of its own. */
static bool is_go_note(const uint8_t *p, const uint8_t *end)
{
	return p + 16 <= end && *(const uint32_t *)p == 4 && memcmp(p + 12, "Go\0", 4) == 0;
}

/* The program's DT_DEBUG, which ld.so fills in for debuggers, leads to its list. */
static void find_loaded(const struct segment *segments, uint64_t n)
{
	const uint64_t *dynamic = NULL;
	uint64_t base = 0;

	for (uint64_t i = 0; i < n; i++)
		if (segments[i].type == PT_PHDR)
			base = (uint64_t)segments - segments[i].vaddr;
	program_header = (uint64_t)segments & ~4095ull;
	for (uint64_t i = 0; i < n; i++) {
		const uint8_t *at = (const uint8_t *)(base + segments[i].vaddr);

		if (segments[i].type == PT_DYNAMIC)
			dynamic = (const uint64_t *)at;
		else if (segments[i].type == PT_NOTE && is_go_note(at, at + segments[i].filesz))
			go_program = true;
	}
	for (; dynamic && dynamic[0]; dynamic += 2)
		if (dynamic[0] == DT_DEBUG && dynamic[1])
			loaded = ((const struct r_debug *)dynamic[1])->map;
}

#define OBJECTS_MAX 64	/* with call sites; most libraries have none */

/* Returns how many, or 0 when one of them is unknown or there is no libc; OBJECTS_MAX when there may be more. */
static unsigned find_objects(struct ph_found found[OBJECTS_MAX], const uint8_t *lists, uint64_t bytes)
{
	unsigned n = 0;
	bool libc = false;

	for (const struct link_map *map = loaded; map && n < OBJECTS_MAX; map = map->next) {
		bool system = map->name && is_system_library(map->name), known;

		if (!map->name || !*map->name || !map->base || map->base == (uint64_t)__ehdr_start)
			continue;
		known = find_list(map->base, map->base, lists, bytes, &found[n]);
		if (system && !known)
			return 0;
		if (!known || (!system && !found[n].list->n))
			continue;
		libc = libc || ph_after_prefix(ph_basename(map->name), "libc.so.");
		n++;
	}
	return libc || n == OBJECTS_MAX ? n : 0;
}

bool ph_stack_is_small(const char *library)
{
	return ph_after_prefix(ph_basename(library), "libgo.so");
}

/* Calls that can't be patched: the program's own, too far from us; those of a library that is known for it and has no list. */
static bool calls_by_itself(const uint8_t *lists, uint64_t bytes)
{
	struct ph_found found;

	for (const struct link_map *map = loaded; map; map = map->next) {
		if (!map->name || !map->base)
			continue;
		if (ph_stack_is_small(map->name) || (ph_after_prefix(ph_basename(map->name), "liburing.so") &&
						     !find_list(map->base, map->base, lists, bytes, &found)))
			return true;
		if (!*map->name && find_list(program_header, map->base, lists, bytes, &found) && found.list->n)
			return true;
	}
	return go_program;
}

static bool alone(void)
{
	struct ph_stat st;

	/* One folder a thread, and "." and "..". Without /proc nobody could have started one before us either. */
	return ph_syscall(NR_newfstatat, AT_FDCWD, (int64_t) "/proc/self/task", (int64_t)&st, 0, 0, 0) < 0 ||
	       st.st_nlink == 3;
}

bool ph_rules_enabled(void)
{
	const struct ph_control *control = ph_engine.control;

	if (!control->master)
		return false;
	for (uint32_t i = 0; i < control->n_rules && i < PH_RULES_MAX; i++)
		if (control->rules[i].enabled)
			return true;
	return false;
}

static void adopt_own(void)
{
	for (const char *at = own_list; *at >= '0' && *at <= '9'; at += *at == ',') {
		int64_t fd = 0;

		for (; *at >= '0' && *at <= '9' && fd < 1000; at++)
			fd = fd * 10 + (*at - '0');
		ph_adopt(fd);
	}
}

static int patch_all(const struct ph_found *found, unsigned n)
{
	int missing = 0;

	for (unsigned i = 0; i < n; i++) {
		int r = ph_patch_object(&found[i].object, found[i].list);

		missing += r < 0 ? 1 : r;
	}
	ph_patch_finish();
	return missing;
}

/* The ring, when calls are to be recorded. Go's stacks are too small for C. */
static bool open_ring(void)
{
	char path[PATH_ROOM];
	size_t folder = (size_t)(ph_basename(control_path) - control_path);
	struct ph_stat st;
	void *file;

	memcpy(path, control_path, folder);
	memcpy(path + folder, "ring", 5);
	if (go_program || ph_hook_init() < 0 || ph_faults_prepare() < 0 || ph_faults_install() < 0)
		return false;
	file = map_private_file(path, true, &st);
	return file && ph_ring_init(file, (uint64_t)st.st_size);
}

/* No call site is looked for: calls are trapped wherever they are made. */
static void arm_trapping(void)
{
	bool enabled = ph_rules_enabled(), ready;

	if (go_program) {	/* its stacks are too small for C */
		ph_uncovered(PH_UNCOVERED_SITES, ph_engine.exe);
		return;
	}
	ph_engine.trapping = true;
	ready = alone() && ph_hook_init() == 0 && ph_faults_prepare() == 0 && ph_faults_install() == 0;
	ph_engine.rules = ready && enabled && ph_dispatch_init(ph_engine.control) == 0;
	__atomic_fetch_add(&ph_engine.control->processes, 1, __ATOMIC_RELAXED);
	if (ready && ph_trap_start() < 0)
		ready = false;
	if (!ready && ph_engine.rules)
		ph_disarm(PH_WHY_UNHANDLED);
	ph_engine.rules = ph_engine.rules && ready;
	if (!ready || (enabled && !ph_engine.rules))
		ph_uncovered(PH_UNCOVERED_SITES, ph_engine.exe);
	if (ph_engine.rules)
		adopt_own();
	ph_live_started();
}

const uint8_t *ph_lists_map(uint64_t *bytes)
{
	char path[PATH_ROOM];
	size_t folder = (size_t)(ph_basename(control_path) - control_path);
	struct ph_stat st;
	const uint8_t *lists;

	memcpy(path, control_path, folder);
	memcpy(path + folder, "sites", 6);
	lists = map_private_file(path, false, &st);
	*bytes = lists ? (uint64_t)st.st_size : 0;
	return lists;
}

static void arm(void)
{
	struct ph_found found[OBJECTS_MAX];
	uint64_t bytes;
	const uint8_t *lists = ph_lists_map(&bytes);
	unsigned n = 0;

	if (lists)
		n = find_objects(found, lists, bytes);
	if (!n || n == OBJECTS_MAX || !alone()) {
		ph_uncovered(n ? PH_UNCOVERED_SITES : PH_UNCOVERED_UNKNOWN_LIBC, ph_engine.exe);
	} else {
		bool enabled = ph_rules_enabled();

		if (ph_engine.control->recording) {
			enabled = false;
			ph_engine.recording = open_ring();
			if (!ph_engine.recording)
				ph_uncovered(PH_UNCOVERED_SITES, ph_engine.exe);
		}
		if (!go_program && ph_delay_init(ph_engine.control)) {
			enabled = false;
			ph_engine.delaying = ph_hook_init() == 0;
		}
		ph_engine.rules = enabled && !calls_by_itself(lists, bytes) && ph_hook_init() == 0 &&
				  ph_faults_prepare() == 0 && ph_faults_install() == 0 &&
				  ph_dispatch_init(ph_engine.control) == 0;
		__atomic_fetch_add(&ph_engine.control->processes, 1, __ATOMIC_RELAXED);
		if (patch_all(found, n))
			ph_engine.rules = false;
		/* Calls that no rule would see could find something pending. */
		if (enabled && !ph_engine.rules) {
			ph_uncovered(PH_UNCOVERED_SITES, ph_engine.exe);
		}
		if (ph_engine.rules)
			adopt_own();
	}
	ph_live_started();
	if (lists)
		ph_syscall(NR_munmap, (int64_t)lists, (int64_t)bytes, 0, 0, 0, 0);
}

__attribute__((constructor)) static void start(int argc, char **argv, char **envp)
{
	const char *control = find(envp, "PEEPHOLE_CONTROL=");
	uint64_t *auxv = (uint64_t *)envp, segments = 0, n_segments = 0;
	const char *as_passed = NULL;
	bool secure = false;

	if (!control || !ph_set_paths(control))
		return;
	while (*auxv)
		auxv++;
	for (auxv++; auxv[0]; auxv += 2) {
		if (auxv[0] == AT_HWCAP2)
			ph_engine.fsgsbase = auxv[1] & HWCAP2_FSGSBASE;
		else if (auxv[0] == AT_PHDR)
			segments = auxv[1];
		else if (auxv[0] == AT_PHNUM)
			n_segments = auxv[1];
		else if (auxv[0] == AT_EXECFN)
			as_passed = (const char *)auxv[1];
		else if (auxv[0] == AT_SECURE)
			secure = auxv[1] != 0;
	}
	clean_environment(envp);
	find_loaded((const struct segment *)segments, n_segments);
	for (size_t i = 0; argc > 0 && argv[0][i] && i < sizeof(ph_engine.exe) - 1; i++)
		ph_engine.exe[i] = argv[0][i];
	if (!secure && ph_open_control()) {
		if (ph_engine.control->trapping)
			arm_trapping();
		else
			arm();
	}
	if (ph_engine.recording)
		ph_ring_start(as_passed, argc, argv);
}

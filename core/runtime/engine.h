/* Inside the engine: how call sites, stubs, the hook, exec and faults know each other. */
#ifndef PH_RUNTIME_ENGINE_H
#define PH_RUNTIME_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dispatch.h"
#include "peephole/abi_control.h"
#include "peephole/abi_sites.h"

/* What entry.S saves of a call, in its order. */
struct ph_frame {
	int64_t a[6];		/* rdi rsi rdx r10 r8 r9 */
	int64_t rax;		/* the number; afterwards what rax is left with */
	uint64_t flags;
	uint64_t target;	/* where in the stub to go on: its own syscall, unless changed */
	uint64_t rbx;
};
#define PH_FRAME_BELOW 208	/* from the frame to the stack pointer of the call: entry.S, BELOW */

/* One stub: code, then what was moved into it, then the address behind the patched instruction, which the unwind data
 * of the stubs reads (entry.S). Once a call site has led to it, it is never written again: somebody may still be in it. */
struct ph_stub {
	uint8_t code[52];
	uint8_t before, after;	/* bytes of instructions that were moved in from around the syscall */
	uint8_t pass_at;	/* offset in code of its own syscall */
	uint8_t fork_at;	/* of the syscall of a call that makes a process, or 0 */
	uint64_t resume;
};

#define PH_STUBS 1280u

_Static_assert(sizeof(struct ph_stub) == 64, "entry.S: .Lslot");
_Static_assert(sizeof(struct ph_frame) == 80, "entry.S: .Lframe");
_Static_assert(offsetof(struct ph_frame, a) == offsetof(struct ph_call, a) &&
	       offsetof(struct ph_frame, rax) == offsetof(struct ph_call, nr), "ph_hook: a frame begins as a call does");

struct ph_identity_of_file {
	uint64_t dev, ino;
};

struct ph_engine {
	bool rules;		/* some rule acts in this process */
	bool makes_vforks;	/* a child may have run, or be running, in its memory */
	struct ph_control *control;
	const char *control_path, *library_path;	/* in memory of ours */
	struct ph_identity_of_file control_id, library_id;
	char exe[120];		/* argv[0], for the record of what is not covered */
	bool recording;		/* calls go to the shared ring (ring.c), and no rule acts */
	bool delaying;		/* calls of some kinds are made dearer (delay.c), and no rule acts */
	bool faults;		/* our handlers of SIGSEGV and SIGBUS are installed */
	bool sandboxed;		/* a seccomp filter was asked for: no call may be made that the program did not make */
	bool fsgsbase;
	bool trapping;		/* calls are trapped (trap.c) instead of patched */
	bool bare;		/* no call may reach C: the program's stacks are too small (Go) */
	uint64_t passed;	/* calls left to their stub, not yet in the control page; threads may lose some to each other */
};

extern struct ph_engine ph_engine;

/* entry.S */
extern struct ph_stub ph_stubs[PH_STUBS];
void ph_entry(void);
void ph_entry_ring(void);
void ph_entry_after(void);

/* hook.c; ph_hooked: whether a call with this number has to reach C. */
int ph_hook_init(void);
bool ph_hooked(int64_t nr);
bool ph_among_vforks(void);
static inline bool ph_vfork_child(void)
{
	return __builtin_expect(ph_engine.makes_vforks, 0) && ph_among_vforks();
}
void ph_hook(struct ph_frame *f);
void ph_hook_after(struct ph_frame *f);
void ph_answered(struct ph_frame *f, int64_t result);	/* over the stub's own syscall */
int64_t ph_clone_flags(const struct ph_frame *f, uint64_t *flags);
bool ph_hook_making(uint64_t flags, int32_t nr);	/* ring.c: around a call that makes a thread, or a child in our memory */

/* patch.c */
extern uint32_t ph_n_stubs;
bool ph_wanted(int32_t nr);
int64_t ph_protect(uint64_t from, uint64_t to, int protection);
bool ph_write_stub(struct ph_stub *stub, const struct ph_site *site, uint64_t start);
bool ph_write_jump(uint8_t *at, const struct ph_site *site, uint64_t from, const struct ph_stub *stub);

/* Returns how many sites of interest could not be patched, or -errno when nothing was done. */
struct ph_object {
	uint64_t base;
	const uint8_t *build_id;
	uint32_t build_id_bytes;
};
int ph_patch_object(const struct ph_object *object, const struct ph_sites *list);
void ph_patch_finish(void);

/* start.c */
struct ph_found {
	struct ph_object object;
	const struct ph_sites *list;
};
const uint8_t *ph_build_id(const uint8_t *notes, const uint8_t *end, uint32_t *bytes);	/* or NULL */
const uint8_t *ph_lists_map(uint64_t *bytes);	/* the launcher's site lists, to be unmapped; or NULL */
const struct ph_sites *ph_list_of(const struct ph_object *object, const uint8_t *lists, uint64_t bytes);
bool ph_set_paths(const char *control);
bool ph_open_control(void);
bool ph_rules_enabled(void);

/* late.c: an mmap of a file as code: made here, and answered. */
void ph_late_map(struct ph_frame *f);

/* live.c */
void ph_live_started(void);
void ph_live_patched(uint32_t from);	/* stubs from here on are in use */

/* exec.c */
int64_t ph_exec(const struct ph_frame *f, const char *own);	/* own: see ph_own_descriptors */
void ph_uncovered(enum ph_uncovered_why why, const char *exe);

/* faults.c */
int ph_faults_install(void);
int ph_faults_prepare(void);	/* looks, changes nothing; then install costs one call a signal */
void ph_faults_remove(void);
bool ph_faults_concern(const int64_t a[6]);	/* rt_sigaction of the program's: false: nothing is ours, or the kernel says what is wrong */
int64_t ph_faults_action(const int64_t a[6], bool vfork_child);	/* its result */
void ph_faults_before_exec(void);
void ph_faults_after_exec(void);

/* string.c */
size_t ph_strlen(const char *s);
const char *ph_after_prefix(const char *s, const char *prefix);	/* NULL when s does not begin with it */
const char *ph_basename(const char *path);
#define PH_FD_PATH 40
void ph_fd_path(char to[PH_FD_PATH], int64_t fd);	/* /proc/self/fd/N */
bool ph_stack_is_small(const char *library);	/* it brings stacks that are too small for C */

#endif

/* A running process as peephole-attach sees it: its mappings, its memory, its threads. */
#ifndef PH_ATTACH_TARGET_H
#define PH_ATTACH_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

struct mapping {
	uint64_t start, end, offset;
	char access[5];
	uint64_t inode;
	char path[512];
};

struct thread {
	pid_t tid;
	bool gone;
	bool stopped;		/* in a ptrace stop */
	bool in_kernel;		/* can't be stopped now, and will stop before it runs a single instruction of the program */
	bool event;		/* stopped by us, with no signal on its way */
	int signal;		/* to be delivered when it goes on */
	bool changed;		/* regs have to be written back */
	struct user_regs_struct regs;
};

struct target {
	pid_t pid;
	int mem;
	struct mapping *maps;
	size_t n_maps;
	struct thread *threads;
	size_t n_threads, room;
	struct thread *held;	/* the only one, stopped before its program begins: nothing else has to be */
	uint64_t syscall_insn;	/* a system-call instruction of the vdso or of libc */
};

/* Prints one line for people on standard error, once; returns -1. */
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

uint64_t now_us(void);

/* 0, or -1 after saying why this process can't be attached to. */
int target_open(pid_t pid, struct target *t);
/* The same for one that this program traces already. */
int target_open_traced(pid_t pid, struct target *t);
void target_close(struct target *t);
int target_read_maps(struct target *t);
const struct mapping *target_mapping(const struct target *t, uint64_t address);
const char *mapping_name(const struct mapping *m);
int target_auxv(pid_t pid, uint64_t key, uint64_t *value);

/* 0 or -1, nothing said. */
int target_read(const struct target *t, uint64_t at, void *to, size_t n);
int target_write(const struct target *t, uint64_t at, const void *from, size_t n);

#endif

/* The control page: switches and counters of one improved process tree, a shared mapping of a private file.
 * Written by the launcher before the start; afterwards the targets only add to counters, read switches, and keep there
 * what the tree owes the disk.
 * A switch can be thrown without Python: write 0 to `master` with any tool that can write four bytes. */
#ifndef PEEPHOLE_ABI_CONTROL_H
#define PEEPHOLE_ABI_CONTROL_H

#include <stddef.h>
#include <stdint.h>

#define PH_CONTROL_MAGIC 0x4c48504545504c31ull
#define PH_CONTROL_VERSION 6u
#define PH_RULES_MAX 24
#define PH_MOUNTS_MAX 64
#define PH_UNCOVERED_MAX 64
#define PH_SLOTS 512		/* processes that can have what is pending in the keeper's memory */
#define PH_DELAYS_MAX 16

/* Why a handled call was settled or passed through instead of answered: keys of "why_not" in results. */
enum ph_why {
	PH_WHY_SHARED,		/* the description is, or was, reachable from another process */
	PH_WHY_NOT_REGULAR,	/* not a regular file */
	PH_WHY_NOT_ALONE,	/* another description of this process names the same file */
	PH_WHY_MOUNT,		/* the mount is not one that the plan covers */
	PH_WHY_UNHANDLED,	/* a call that the rule does not handle met something pending */
	PH_WHY_BLOCKING,	/* a call that may block or communicate met something pending */
	PH_WHY_FORK,
	PH_WHY_EXEC,
	PH_WHY_EXIT,
	PH_WHY_FULL,		/* no slot or buffer was free */
	PH_WHY_CONTENDED,	/* the state was taken by a signal handler or another thread */
	PH_WHY_SWITCHED_OFF,
	PH_WHY_FAULT,		/* bad user memory: the kernel's own answer was fetched */
	PH_WHY_SETTLE_FAILED,	/* the kernel refused a settle; its error was handed to the program */
	PH_WHY_CONTAINED,	/* a fault in the rule's own code */
	PH_WHY_NO_GAIN,		/* it took more than it saved, by the plan's prices */
	PH_WHY_DEADLINE,	/* the keeper settled what had been pending for too long */
	PH_WHY_KILLED,		/* the keeper settled what a process had left that was killed */
	PH_WHY_WRONG,		/* an isolated rule was found to do otherwise than the kernel */
	PH_WHY_COUNT
};

enum ph_trust {
	PH_TRUST_VERIFIED,	/* proved, and consented to */
	PH_TRUST_TRUSTED,	/* unproved or not consented to: the user has forced it */
	PH_TRUST_ISOLATED	/* not trusted: what it does is compared with the kernel now and then */
};

/* File-system profiles: what a crash may leave behind (see docs/guarantees.md). */
enum ph_profile { PH_PROFILE_NONE = 0, PH_PROFILE_EXT4_ORDERED = 1, PH_PROFILE_WEAK = 2 };

struct ph_rule_control {
	char name[48];
	uint32_t enabled;	/* thrown by the user or by a rule that does not pay */
	uint32_t switched_off;	/* 0, or 1 + enum ph_why */
	uint64_t hits;		/* calls answered or made cheaper */
	uint64_t settled;	/* times that pending effects were made good */
	uint64_t why[PH_WHY_COUNT];
	uint64_t price_ns;	/* what a hit saves by the plan; 0: not known, and the rule is not weighed */
	uint64_t trust;		/* enum ph_trust */
	uint64_t table_fd;	/* 1 + the descriptor of the keeper's table of files (abi_examined.h); 0: there is none, or no more */
	uint64_t table_ino;
};

/* Only files on a listed device are handled; `rules` says by which rules (bit i = rules[i]). */
struct ph_mount {
	uint64_t dev;		/* st_dev */
	uint32_t profile;
	uint32_t rules;
};

struct ph_uncovered {
	int32_t pid;
	uint32_t why;		/* enum ph_uncovered_why */
	char exe[120];
};

enum ph_uncovered_why {
	PH_UNCOVERED_NONE,
	PH_UNCOVERED_SITES,	/* a call site that matters could not be patched: no rule was armed */
	PH_UNCOVERED_SECURE,	/* set-uid, set-gid or with capabilities: never loaded there */
	PH_UNCOVERED_STATIC,	/* no dynamic linker */
	PH_UNCOVERED_FOREIGN,	/* 32-bit, or another machine */
	PH_UNCOVERED_LIBRARY,	/* the library was not reachable from there (chroot, mount namespace) */
	PH_UNCOVERED_UNKNOWN_LIBC,	/* no site list for the mapped libc or ld.so */
	PH_UNCOVERED_SANDBOX	/* below a seccomp filter, which need not allow the calls that the runtime adds */
};

/* A sync that was answered and not made, of one file of the tree at a time. The first two words change together. */
struct ph_owed {
	uint64_t by;		/* 0: none; else a number that grows << 35 | fsync << 34 | process << 12 | descriptor */
	uint64_t file;		/* device << 40 | inode */
	uint64_t due_ms;	/* when it should be made at the latest */
	uint64_t synced_file;	/* the last sync that was made: of this file, at this time (CLOCK_MONOTONIC_COARSE) */
	uint64_t synced_ms;
	uint64_t window_ms;	/* for how long it may wait that is asked for just after a sync */
	uint64_t blind;		/* not 0: calls are made in the tree that nobody sees; no sync is put off */
};

struct ph_control {
	uint64_t magic;
	uint32_t version;
	uint32_t size_bytes;
	uint32_t master;	/* 1: rules on; 0: settle and pass everything through */
	uint32_t n_rules;
	uint32_t n_mounts;
	uint32_t n_uncovered;	/* total seen; only the first PH_UNCOVERED_MAX are kept */
	uint64_t processes;	/* images started with the runtime in them */
	uint64_t sites_patched;
	uint64_t sites_unpatched;
	uint64_t calls_passed;	/* calls that reached C and were left to their stub */
	uint64_t settle_failures;
	uint32_t recording;	/* 1: calls go to the file `ring` (abi_ring.h), and no rule acts */
	uint32_t trapping;	/* 1: calls are trapped by syscall user dispatch, and no call site is patched */
	struct ph_owed owed;
	struct ph_rule_control rules[PH_RULES_MAX];
	struct ph_mount mounts[PH_MOUNTS_MAX];
	struct ph_uncovered uncovered[PH_UNCOVERED_MAX];
	uint32_t keeper_pid, keeper_fd;	/* /proc/PID/fd/FD is its memory (abi_keeper.h); 0: there is none */
	uint64_t keeper_dev, keeper_ino;	/* of that memory */
	uint64_t keeper_rounds;	/* times that it has looked after every process */
	uint64_t kept_lost;	/* files of killed processes whose effects it could not make good */
	uint32_t slots[PH_SLOTS];	/* which process has which slot of the keeper's memory; 0: free */
	uint64_t delay_ns;	/* not 0: the calls of delay_calls begin so much later, and no rule acts */
	uint64_t delayed;	/* how many did */
	uint16_t delay_calls[PH_DELAYS_MAX];	/* their numbers and 1; 0: none */
};

_Static_assert(sizeof(struct ph_rule_control) == 48 + 8 + 16 + 8 * PH_WHY_COUNT + 32, "ph_rule_control");
_Static_assert(sizeof(struct ph_mount) == 16, "ph_mount");
_Static_assert(sizeof(struct ph_uncovered) == 128, "ph_uncovered");
_Static_assert(offsetof(struct ph_control, owed) % 16 == 0, "cmpxchg16b");
_Static_assert(sizeof(struct ph_control) == 136 + PH_RULES_MAX * sizeof(struct ph_rule_control) +
	       PH_MOUNTS_MAX * 16 + PH_UNCOVERED_MAX * 128 + 40 + PH_SLOTS * 4 + 48, "ph_control");

#endif

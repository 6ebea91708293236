/* The kernel's numbers and structs that the engine uses; no libc header is included in the runtime. */
#ifndef PH_RUNTIME_LINUX_H
#define PH_RUNTIME_LINUX_H

#include <stdint.h>

enum {
	NR_read = 0, NR_close = 3, NR_fstat = 5, NR_mmap = 9, NR_mprotect = 10, NR_munmap = 11, NR_rt_sigaction = 13,
	NR_rt_sigprocmask = 14, NR_rt_sigreturn = 15, NR_pread64 = 17, NR_madvise = 28, NR_getpid = 39, NR_getppid = 110, NR_clock_gettime = 228, NR_clone = 56,
	NR_fork = 57, NR_vfork = 58, NR_execve = 59, NR_exit = 60, NR_prctl = 157, NR_arch_prctl = 158, NR_gettid = 186,
	NR_geteuid = 107, NR_fgetxattr = 193, NR_exit_group = 231, NR_openat = 257, NR_faccessat = 269, NR_newfstatat = 262, NR_readlinkat = 267,
	NR_rt_tgsigqueueinfo = 297, NR_process_vm_readv = 310, NR_seccomp = 317, NR_execveat = 322, NR_clone3 = 435, NR_ptrace = 101, NR_tgkill = 234,
	NR_rt_sigsuspend = 130, NR_pselect6 = 270, NR_ppoll = 271, NR_epoll_pwait = 281, NR_epoll_pwait2 = 441
};

enum {
	EPERM = 1, ENOENT = 2, EINTR = 4, E2BIG = 7, ENOEXEC = 8, ENOMEM = 12, EACCES = 13, EFAULT = 14, EINVAL = 22, EBUSY = 16,
	X_OK = 1, R_OK = 4, AT_FDCWD = -100, AT_EMPTY_PATH = 0x1000, AT_SYMLINK_NOFOLLOW = 0x100,
	O_RDONLY = 0, O_RDWR = 2, O_CLOEXEC = 02000000, O_NOFOLLOW = 0400000, O_PATH = 010000000,
	O_NONBLOCK = 04000, O_NOCTTY = 0400,
	PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4,
	MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_ANONYMOUS = 0x20, MAP_POPULATE = 0x8000,
	MAP_FIXED = 0x10, MAP_FIXED_NOREPLACE = 0x100000,
	SIG_BLOCK = 0, SIG_UNBLOCK = 1, SIG_SETMASK = 2, SIGBUS = 7, SIGSEGV = 11, SIGSYS = 31,
	ARCH_GET_FS = 0x1003, MADV_WIPEONFORK = 18, MADV_POPULATE_WRITE = 23,
	PR_SET_SECCOMP = 22, SECCOMP_MODE_STRICT = 1, SECCOMP_MODE_FILTER = 2,		/* prctl's numbers, then seccomp's */
	SECCOMP_SET_MODE_STRICT = 0, SECCOMP_SET_MODE_FILTER = 1, SOCK_FPROG_BYTES = 16,
	CLONE_VM = 0x100, CLONE_FILES = 0x400, CLONE_SIGHAND = 0x800, CLONE_VFORK = 0x4000, CLONE_SETTLS = 0x80000,
	CLONE_NEWPID = 0x20000000, CLONE_FS = 0x200, CLONE_NEWNS = 0x20000, CLONE_NEWUSER = 0x10000000,
	S_IFMT = 0170000, S_IFREG = 0100000, S_ISUID = 04000, S_ISGID = 02000, S_IXGRP = 010
};

struct ph_stat {		/* struct stat of x86-64 */
	uint64_t st_dev, st_ino, st_nlink;
	uint32_t st_mode, st_uid, st_gid, pad;
	uint64_t st_rdev;
	int64_t st_size, st_blksize, st_blocks;
	uint64_t times[6];
	int64_t reserved[3];
};

_Static_assert(sizeof(struct ph_stat) == 144, "struct stat");

struct ph_iovec {
	void *base;
	uint64_t bytes;
};

#endif

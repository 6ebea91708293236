/* The kernel's numbers that the runtime uses, under names of their own: no libc header is included in it. */
#ifndef PH_RUNTIME_NUMBERS_H
#define PH_RUNTIME_NUMBERS_H

enum {
	PH_NR_read = 0, PH_NR_write = 1, PH_NR_open = 2, PH_NR_close = 3, PH_NR_stat = 4, PH_NR_fstat = 5,
	PH_NR_lstat = 6, PH_NR_poll = 7, PH_NR_lseek = 8, PH_NR_mmap = 9, PH_NR_munmap = 11, PH_NR_rt_sigaction = 13,
	PH_NR_rt_sigprocmask = 14, PH_NR_rt_sigreturn = 15, PH_NR_ioctl = 16, PH_NR_pread64 = 17, PH_NR_pwrite64 = 18, PH_NR_writev = 20,
	PH_NR_access = 21, PH_NR_mremap = 25, PH_NR_madvise = 28, PH_NR_dup = 32, PH_NR_dup2 = 33, PH_NR_nanosleep = 35,
	PH_NR_getpid = 39, PH_NR_sendfile = 40, PH_NR_accept = 43, PH_NR_sendto = 44, PH_NR_recvfrom = 45, PH_NR_sendmsg = 46,
	PH_NR_recvmsg = 47, PH_NR_shutdown = 48, PH_NR_setsockopt = 54, PH_NR_getsockopt = 55, PH_NR_clone = 56, PH_NR_kill = 62,
	PH_NR_fcntl = 72, PH_NR_fsync = 74, PH_NR_fdatasync = 75, PH_NR_ftruncate = 77, PH_NR_getcwd = 79,
	PH_NR_rename = 82, PH_NR_creat = 85, PH_NR_readlink = 89, PH_NR_setuid = 105, PH_NR_setgid = 106,
	PH_NR_setreuid = 113, PH_NR_setregid = 114, PH_NR_setgroups = 116, PH_NR_setresuid = 117,
	PH_NR_setresgid = 119, PH_NR_getsid = 124, PH_NR_capset = 126, PH_NR_statfs = 137, PH_NR_fstatfs = 138, PH_NR_pivot_root = 155, PH_NR_prctl = 157,
	PH_NR_chroot = 161, PH_NR_sync = 162, PH_NR_getxattr = 191, PH_NR_lgetxattr = 192, PH_NR_futex = 202, PH_NR_io_submit = 209, PH_NR_getdents64 = 217, PH_NR_clock_gettime = 228,
	PH_NR_exit_group = 231, PH_NR_epoll_wait = 232, PH_NR_epoll_ctl = 233, PH_NR_openat = 257, PH_NR_newfstatat = 262,
	PH_NR_unlinkat = 263, PH_NR_renameat = 264, PH_NR_readlinkat = 267, PH_NR_unshare = 272, PH_NR_tee = 276,
	PH_NR_fallocate = 285, PH_NR_accept4 = 288, PH_NR_dup3 = 292, PH_NR_pipe2 = 293, PH_NR_recvmmsg = 299,
	PH_NR_prlimit64 = 302, PH_NR_sendmmsg = 307, PH_NR_setns = 308,
	PH_NR_process_vm_readv = 310, PH_NR_kcmp = 312, PH_NR_renameat2 = 316, PH_NR_seccomp = 317,
	PH_NR_getrandom = 318, PH_NR_membarrier = 324,
	PH_NR_statx = 332, PH_NR_io_uring_setup = 425, PH_NR_close_range = 436, PH_NR_openat2 = 437,
	PH_NR_pidfd_getfd = 438, PH_NR_faccessat2 = 439, PH_NR_MAX = 512
};

enum {
	PH_ENOENT = 2, PH_ESRCH = 3, PH_EINTR = 4, PH_EBADF = 9, PH_EBUSY = 16, PH_EOPNOTSUPP = 95, PH_EAGAIN = 11,
	PH_ENOMEM = 12, PH_EFAULT = 14, PH_EINVAL = 22, PH_ENOSPC = 28, PH_ENOTSOCK = 88,
	PH_ECONNRESET = 104, PH_SOL_SOCKET = 1, PH_SO_PROTOCOL = 38,
	PH_SO_MEMINFO = 55, PH_IPPROTO_TCP = 6, PH_TCP_CORK = 3, PH_TCP_INFO = 11, PH_TCP_NOTSENT_LOWAT = 25, PH_EPOLLOUT = 4,
	PH_POLLOUT = 4, PH_SHUT_RDWR = 2, PH_MSG_DONTWAIT = 0x40, PH_MSG_NOSIGNAL = 0x4000, PH_MSG_MORE = 0x8000, PH_AT_FDCWD = -100,
	PH_AT_EMPTY_PATH = 0x1000, PH_AT_SYMLINK_NOFOLLOW = 0x100, PH_O_PATH = 010000000, PH_RENAME_EXCHANGE = 2,
	PH_O_RDONLY = 0, PH_O_WRONLY = 1, PH_O_RDWR = 2, PH_O_CREAT = 0100, PH_O_TRUNC = 01000, PH_O_APPEND = 02000,
	PH_O_EXCL = 0200, PH_O_DIRECTORY = 0200000, PH_O_CLOEXEC = 02000000, PH_O_NONBLOCK = 04000, PH_O_NOCTTY = 0400,
	PH_O_ACCMODE = 3, PH_F_DUPFD = 0, PH_F_GETFD = 1, PH_F_SETFD = 2, PH_F_GETFL = 3, PH_FD_CLOEXEC = 1,
	PH_KCMP_FILE = 0, PH_PR_GET_TSC = 25, PH_PR_SET_TSC = 26, PH_PR_TSC_ENABLE = 1, PH_CLOCK_MONOTONIC = 1,
	PH_F_SETFL = 4, PH_F_DUPFD_CLOEXEC = 1030, PH_SEEK_SET = 0, PH_SEEK_CUR = 1, PH_SIG_SETMASK = 2,
	PH_FUTEX_WAIT_PRIVATE = 128, PH_FUTEX_WAKE_PRIVATE = 129, PH_MADV_WIPEONFORK = 18, PH_S_IFMT = 0170000,
	PH_S_IFREG = 0100000, PH_S_IFDIR = 0040000, PH_S_IFLNK = 0120000, PH_S_IFCHR = 0020000, PH_S_IFIFO = 0010000, PH_S_IFSOCK = 0140000, PH_PROT_READ = 1,
	PH_PROT_WRITE = 2, PH_MAP_SHARED = 1, PH_MAP_PRIVATE = 2, PH_MAP_FIXED = 0x10, PH_MAP_NORESERVE = 0x4000,
	PH_MREMAP_MAYMOVE = 1, PH_MREMAP_FIXED = 2, PH_FALLOC_KEEP_SIZE = 1, PH_FALLOC_PUNCH_HOLE = 2,
	PH_STATX_BASIC_AND_BTIME = 0xfff, PH_STATX_BTIME = 0x800, PH_MEMBARRIER_GLOBAL_EXPEDITED = 2,
	PH_MEMBARRIER_REGISTER_GLOBAL_EXPEDITED = 4, PH_CLONE_FILES = 0x400, PH_CLOSE_RANGE_UNSHARE = 2,
	PH_MAP_ANONYMOUS = 0x20
};

#endif

/* Which arguments of which call are descriptors, paths and addresses: see PH_SHAPE_* in abi_record.h.
 * Calls that are not listed have neither. Numbers newer than the build machine's headers are given here. */
#ifndef PH_RECORD_SHAPES_H
#define PH_RECORD_SHAPES_H

#include <sys/syscall.h>

#include "peephole/abi_record.h"

#ifndef __NR_cachestat
#define __NR_cachestat 451
#endif
#ifndef __NR_fchmodat2
#define __NR_fchmodat2 452
#endif
#ifndef __NR_setxattrat
#define __NR_setxattrat 463
#define __NR_getxattrat 464
#define __NR_listxattrat 465
#define __NR_removexattrat 466
#endif
#ifndef __NR_open_tree_attr
#define __NR_open_tree_attr 467
#endif
#ifndef __NR_file_getattr
#define __NR_file_getattr 468
#define __NR_file_setattr 469
#endif

#define FD PH_SHAPE_FD
#define PATH PH_SHAPE_PATH
#define PATH2 PH_SHAPE_PATH2
#define NEW (PH_SHAPE_RETURNS | PH_SHAPE_CREATES)
#define TO(n) PH_SHAPE_ADDRESS(n)
#define FROM(n) (PH_SHAPE_ADDRESS(n) | PH_SHAPE_OUT)
#define MESSAGE(n) (PH_SHAPE_ADDRESS(n) | PH_SHAPE_MESSAGE)

static const struct { unsigned int nr, shape; } call_shapes[] = {
	/* descriptor first */
	{ __NR_read, FD(1) }, { __NR_write, FD(1) }, { __NR_pread64, FD(1) }, { __NR_pwrite64, FD(1) },
	{ __NR_readv, FD(1) }, { __NR_writev, FD(1) }, { __NR_preadv, FD(1) }, { __NR_pwritev, FD(1) },
	{ __NR_preadv2, FD(1) }, { __NR_pwritev2, FD(1) }, { __NR_lseek, FD(1) }, { __NR_fstat, FD(1) },
	{ __NR_fstatfs, FD(1) }, { __NR_fsync, FD(1) }, { __NR_fdatasync, FD(1) }, { __NR_ftruncate, FD(1) },
	{ __NR_fallocate, FD(1) }, { __NR_fadvise64, FD(1) }, { __NR_readahead, FD(1) }, { __NR_flock, FD(1) },
	{ __NR_fchmod, FD(1) }, { __NR_fchown, FD(1) }, { __NR_fchdir, FD(1) }, { __NR_getdents, FD(1) },
	{ __NR_getdents64, FD(1) }, { __NR_ioctl, FD(1) }, { __NR_fcntl, FD(1) }, { __NR_dup, FD(1) },
	{ __NR_dup2, FD(1) }, { __NR_dup3, FD(1) }, { __NR_sendfile, FD(1) }, { __NR_copy_file_range, FD(1) },
	{ __NR_splice, FD(1) }, { __NR_tee, FD(1) }, { __NR_vmsplice, FD(1) }, { __NR_sync_file_range, FD(1) },
	{ __NR_syncfs, FD(1) }, { __NR_cachestat, FD(1) }, { __NR_fsetxattr, FD(1) }, { __NR_fgetxattr, FD(1) },
	{ __NR_flistxattr, FD(1) }, { __NR_fremovexattr, FD(1) }, { __NR_mmap, FD(5) },
	{ __NR_close, FD(1) | PH_SHAPE_CLOSES },
	{ __NR_connect, FD(1) | TO(2) }, { __NR_bind, FD(1) | TO(2) }, { __NR_listen, FD(1) }, { __NR_shutdown, FD(1) },
	{ __NR_sendto, FD(1) | TO(5) }, { __NR_recvfrom, FD(1) | FROM(5) }, { __NR_sendmsg, FD(1) | MESSAGE(2) }, { __NR_recvmsg, FD(1) | MESSAGE(2) | PH_SHAPE_OUT },
	{ __NR_sendmmsg, FD(1) }, { __NR_recvmmsg, FD(1) }, { __NR_getsockname, FD(1) | FROM(2) }, { __NR_getpeername, FD(1) | FROM(2) },
	{ __NR_setsockopt, FD(1) }, { __NR_getsockopt, FD(1) }, { __NR_epoll_wait, FD(1) }, { __NR_epoll_pwait, FD(1) },
	{ __NR_epoll_pwait2, FD(1) }, { __NR_epoll_ctl, FD(1) }, { __NR_timerfd_settime, FD(1) },
	{ __NR_timerfd_gettime, FD(1) }, { __NR_io_uring_enter, FD(1) }, { __NR_io_uring_register, FD(1) },
	{ __NR_inotify_rm_watch, FD(1) }, { __NR_inotify_add_watch, FD(1) | PATH(2) },
	{ __NR_pidfd_send_signal, FD(1) }, { __NR_mq_timedsend, FD(1) }, { __NR_mq_timedreceive, FD(1) },

	/* a descriptor comes back */
	{ __NR_open, NEW | PATH(1) }, { __NR_creat, NEW | PATH(1) }, { __NR_openat, NEW | PATH(2) },
	{ __NR_openat2, NEW | PATH(2) }, { __NR_open_tree, NEW | PATH(2) }, { __NR_open_by_handle_at, NEW },
	{ __NR_socket, NEW }, { __NR_accept, NEW | FD(1) | FROM(2) }, { __NR_accept4, NEW | FD(1) | FROM(2) },
	{ __NR_pipe, PH_SHAPE_PAIR(1) }, { __NR_pipe2, PH_SHAPE_PAIR(1) }, { __NR_socketpair, PH_SHAPE_PAIR(4) },
	{ __NR_eventfd, NEW }, { __NR_eventfd2, NEW }, { __NR_epoll_create, NEW }, { __NR_epoll_create1, NEW },
	{ __NR_timerfd_create, NEW }, { __NR_signalfd, NEW | FD(1) }, { __NR_signalfd4, NEW | FD(1) },
	{ __NR_inotify_init, NEW }, { __NR_inotify_init1, NEW }, { __NR_fanotify_init, NEW },
	{ __NR_memfd_create, NEW | PATH(1) }, { __NR_userfaultfd, NEW }, { __NR_perf_event_open, NEW },
	{ __NR_io_uring_setup, NEW }, { __NR_pidfd_open, NEW }, { __NR_pidfd_getfd, PH_SHAPE_RETURNS | FD(1) },
	{ __NR_mq_open, NEW | PATH(1) }, { __NR_fsopen, NEW | PATH(1) }, { __NR_fspick, NEW | PATH(2) },
	{ __NR_fsmount, NEW | FD(1) },

	/* paths */
	{ __NR_stat, PATH(1) }, { __NR_lstat, PATH(1) }, { __NR_newfstatat, FD(1) | PATH(2) },
	{ __NR_statx, FD(1) | PATH(2) }, { __NR_access, PATH(1) }, { __NR_faccessat, FD(1) | PATH(2) },
	{ __NR_faccessat2, FD(1) | PATH(2) }, { __NR_readlink, PATH(1) }, { __NR_readlinkat, FD(1) | PATH(2) },
	{ __NR_unlink, PATH(1) }, { __NR_unlinkat, FD(1) | PATH(2) }, { __NR_rmdir, PATH(1) },
	{ __NR_mkdir, PATH(1) }, { __NR_mkdirat, FD(1) | PATH(2) }, { __NR_mknod, PATH(1) },
	{ __NR_mknodat, FD(1) | PATH(2) }, { __NR_rename, PATH(1) | PATH2(2) },
	{ __NR_renameat, FD(1) | PATH(2) | PATH2(4) }, { __NR_renameat2, FD(1) | PATH(2) | PATH2(4) },
	{ __NR_link, PATH(1) | PATH2(2) }, { __NR_linkat, FD(1) | PATH(2) | PATH2(4) },
	{ __NR_symlink, PATH(1) | PATH2(2) }, { __NR_symlinkat, FD(2) | PATH(1) | PATH2(3) },
	{ __NR_chmod, PATH(1) }, { __NR_fchmodat, FD(1) | PATH(2) }, { __NR_fchmodat2, FD(1) | PATH(2) },
	{ __NR_chown, PATH(1) }, { __NR_lchown, PATH(1) }, { __NR_fchownat, FD(1) | PATH(2) },
	{ __NR_utime, PATH(1) }, { __NR_utimes, PATH(1) }, { __NR_futimesat, FD(1) | PATH(2) },
	{ __NR_utimensat, FD(1) | PATH(2) }, { __NR_truncate, PATH(1) }, { __NR_statfs, PATH(1) },
	{ __NR_chdir, PATH(1) }, { __NR_chroot, PATH(1) }, { __NR_execve, PATH(1) }, { __NR_execveat, FD(1) | PATH(2) },
	{ __NR_uselib, PATH(1) }, { __NR_swapon, PATH(1) }, { __NR_swapoff, PATH(1) }, { __NR_acct, PATH(1) },
	{ __NR_mount, PATH(1) | PATH2(2) }, { __NR_umount2, PATH(1) }, { __NR_pivot_root, PATH(1) | PATH2(2) },
	{ __NR_setxattr, PATH(1) }, { __NR_lsetxattr, PATH(1) }, { __NR_getxattr, PATH(1) }, { __NR_lgetxattr, PATH(1) },
	{ __NR_listxattr, PATH(1) }, { __NR_llistxattr, PATH(1) }, { __NR_removexattr, PATH(1) },
	{ __NR_lremovexattr, PATH(1) }, { __NR_setxattrat, FD(1) | PATH(2) }, { __NR_getxattrat, FD(1) | PATH(2) },
	{ __NR_listxattrat, FD(1) | PATH(2) }, { __NR_removexattrat, FD(1) | PATH(2) },
	{ __NR_name_to_handle_at, FD(1) | PATH(2) }, { __NR_mq_unlink, PATH(1) },
	{ __NR_move_mount, FD(1) | PATH(2) | PATH2(4) }, { __NR_mount_setattr, FD(1) | PATH(2) },
	{ __NR_open_tree_attr, NEW | PATH(2) }, { __NR_file_getattr, FD(1) | PATH(2) },
	{ __NR_file_setattr, FD(1) | PATH(2) }, { __NR_fanotify_mark, FD(1) | PATH(5) },
};

#undef FD
#undef PATH
#undef PATH2
#undef NEW
#undef TO
#undef FROM
#undef MESSAGE

#endif

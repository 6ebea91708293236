/* Makes one call of each of many kinds and prints it as strace would: name(arguments) = result. The decoded capture
 * between the marks, getpriority(77, …), must equal the print. Nothing is changed: descriptors are closed, pointers bad,
 * names missing; what succeeds only looks.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINES_BYTES (1 << 16)

static char lines[LINES_BYTES];
static size_t used;

static long raw(long nr, long a, long b, long c, long d, long e, long f)
{
	long ret;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall" : "=a"(ret) : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static void made(const char *name, const char *words, long ret)
{
	used += snprintf(lines + used, LINES_BYTES - used, "%s(%s) = ", name, words);
	if (ret < 0 && ret > -4096)
		used += snprintf(lines + used, LINES_BYTES - used, "-1 %s (%s)\n", strerrorname_np(-ret), strerror(-ret));
	else if (!strcmp(name, "brk") || !strcmp(name, "mmap"))
		used += snprintf(lines + used, LINES_BYTES - used, "0x%lx\n", ret);
	else if (!strcmp(name, "umask"))
		used += snprintf(lines + used, LINES_BYTES - used, "%#03lo\n", ret);
	else
		used += snprintf(lines + used, LINES_BYTES - used, "%ld\n", ret);
}

#define RAW(nr, a, b, c, d, e, f, ...) raw(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
/* Arguments that are not given are filled with what must not be shown. */
#define CALL(name, words, ...) made(#name, words, RAW(SYS_##name, ##__VA_ARGS__, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77))
#define BAD 0x10
#define NAME "no \"such\"\n\xff" "1 name"
#define SHOWN "\"no \\\"such\\\"\\n\\3771 name\""

static void files(void)
{
	CALL(read, "-1, 0x10, 7", -1, BAD, 7);
	CALL(write, "-1, NULL, 0", -1, 0, 0);
	CALL(open, SHOWN ", O_RDONLY", NAME, O_RDONLY);
	CALL(openat, "AT_FDCWD, " SHOWN ", O_WRONLY|O_APPEND|O_NOFOLLOW|O_CLOEXEC", AT_FDCWD, NAME,
	     O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
	CALL(openat, "-7, \"x\", O_RDWR|O_CREAT|O_EXCL, 0640", -7, "x", O_RDWR | O_CREAT | O_EXCL, 0640);
	CALL(creat, "\"/none/x\", 000", "/none/x", 0);
	CALL(close, "-1", -1);
	CALL(stat, SHOWN ", NULL", NAME, 0);
	CALL(lstat, "\"\", 0x10", "", BAD);
	CALL(fstat, "-1, 0x10", -1, BAD);
	CALL(newfstatat, "-1, \"x\", 0x10, AT_SYMLINK_NOFOLLOW|AT_EMPTY_PATH", -1, "x", BAD,
	     AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH);
	CALL(statx, "-1, \"x\", AT_STATX_SYNC_AS_STAT|AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, NULL", -1, "x", AT_SYMLINK_NOFOLLOW, 0x7ff, 0);
	CALL(lseek, "-1, -5, SEEK_END", -1, -5, SEEK_END);
	CALL(pread64, "-1, 0x10, 4096, 8192", -1, BAD, 4096, 8192);
	CALL(pwrite64, "-1, 0x10, 4096, -1", -1, BAD, 4096, -1);
	CALL(readv, "-1, 0x10, 2", -1, BAD, 2);
	CALL(writev, "-1, 0x10, 18446744073709551614", -1, BAD, -2);
	CALL(preadv, "-1, 0x10, 1, 5", -1, BAD, 1, 5, 0);
	CALL(pwritev, "-1, 0x10, 1, 5", -1, BAD, 1, 5, 0);
	CALL(preadv2, "-1, 0x10, 1, 5, RWF_NOWAIT", -1, BAD, 1, 5, 0, 8);
	CALL(pwritev2, "-1, 0x10, 1, 5, RWF_DSYNC|RWF_APPEND", -1, BAD, 1, 5, 0, 18);
	CALL(access, SHOWN ", F_OK", NAME, F_OK);
	CALL(access, "\"x\", R_OK|W_OK", "x", R_OK | W_OK);
	CALL(faccessat, "AT_FDCWD, \"/none\", X_OK", AT_FDCWD, "/none", X_OK);
	CALL(faccessat2, "AT_FDCWD, \"/none\", X_OK, AT_SYMLINK_NOFOLLOW", AT_FDCWD, "/none", X_OK, AT_SYMLINK_NOFOLLOW);
	CALL(pipe, "0x10", BAD);
	CALL(pipe2, "0x10, O_CLOEXEC", BAD, O_CLOEXEC);
	CALL(dup, "-1", -1);
	CALL(dup2, "-1, 5", -1, 5);
	CALL(dup3, "-1, 5, O_CLOEXEC", -1, 5, O_CLOEXEC);
	CALL(fcntl, "-1, F_GETFL", -1, F_GETFL);
	CALL(fcntl, "-1, F_DUPFD_CLOEXEC, 10", -1, F_DUPFD_CLOEXEC, 10);
	CALL(ioctl, "-1, FIONREAD, 0x10", -1, 0x541b, BAD);
	CALL(ioctl, "-1, 0x1234, NULL", -1, 0x1234, 0);
	CALL(flock, "-1, LOCK_EX|LOCK_NB", -1, 6);
	CALL(fsync, "-1", -1);
	CALL(fdatasync, "-1", -1);
	CALL(syncfs, "-1", -1);
	CALL(truncate, "\"/none\", 100", "/none", 100);
	CALL(ftruncate, "-1, 100", -1, 100);
	CALL(fallocate, "-1, FALLOC_FL_KEEP_SIZE|FALLOC_FL_PUNCH_HOLE, 1, 2", -1, 3, 1, 2);
	CALL(fadvise64, "-1, 0, 4096, POSIX_FADV_WILLNEED", -1, 0, 4096, 3);
	CALL(readahead, "-1, 0, 4096", -1, 0, 4096);
	CALL(sync_file_range, "-1, 0, 10, SYNC_FILE_RANGE_WRITE", -1, 0, 10, 2);
	CALL(getdents, "-1, 0x10, 100", -1, BAD, 100);
	CALL(getdents64, "-1, 0x10, 100", -1, BAD, 100);
	CALL(getcwd, "NULL, 0", 0, 0);
	CALL(chdir, "\"/none\"", "/none");
	CALL(fchdir, "-1", -1);
	CALL(rename, "\"/none/a\", \"/none/b\"", "/none/a", "/none/b");
	CALL(renameat, "AT_FDCWD, \"/none/a\", -1, \"b\"", AT_FDCWD, "/none/a", -1, "b");
	CALL(renameat2, "AT_FDCWD, \"/none/a\", AT_FDCWD, \"/none/b\", RENAME_NOREPLACE", AT_FDCWD, "/none/a", AT_FDCWD,
	     "/none/b", 1);
	CALL(mkdir, "\"/none/a\", 0755", "/none/a", 0755);
	CALL(mkdirat, "-1, \"a\", 0755", -1, "a", 0755);
	CALL(rmdir, "\"/none\"", "/none");
	CALL(mknod, "\"/none/a\", S_IFIFO|0600", "/none/a", S_IFIFO | 0600, 0);
	CALL(mknodat, "-1, \"a\", S_IFREG|0600", -1, "a", S_IFREG | 0600, 0);
	CALL(link, "\"/none/a\", \"/none/b\"", "/none/a", "/none/b");
	CALL(linkat, "-1, \"a\", AT_FDCWD, \"/none/b\", AT_SYMLINK_FOLLOW", -1, "a", AT_FDCWD, "/none/b", AT_SYMLINK_FOLLOW);
	CALL(symlink, "\"x\", \"/none/b\"", "x", "/none/b");
	CALL(symlinkat, "\"x\", -1, \"b\"", "x", -1, "b");
	CALL(readlink, "\"/none\", 0x10, 10", "/none", BAD, 10);
	CALL(readlinkat, "-1, \"a\", 0x10, 10", -1, "a", BAD, 10);
	CALL(unlink, "\"/none\"", "/none");
	CALL(unlinkat, "-1, \"a\", AT_REMOVEDIR", -1, "a", AT_REMOVEDIR);
	CALL(chmod, "\"/none\", 0644", "/none", 0644);
	CALL(fchmod, "-1, 0644", -1, 0644);
	CALL(fchmodat, "-1, \"a\", 0644", -1, "a", 0644);
	CALL(chown, "\"/none\", -1, 5", "/none", -1, 5);
	CALL(lchown, "\"/none\", -1, 5", "/none", -1, 5);
	CALL(fchown, "-1, 1, 2", -1, 1, 2);
	CALL(fchownat, "-1, \"a\", 1, 2, AT_SYMLINK_NOFOLLOW", -1, "a", 1, 2, AT_SYMLINK_NOFOLLOW);
	CALL(utime, "\"/none\", NULL", "/none", 0);
	CALL(utimes, "\"/none\", NULL", "/none", 0);
	CALL(futimesat, "-1, \"a\", NULL", -1, "a", 0);
	CALL(utimensat, "-1, \"a\", NULL, AT_SYMLINK_NOFOLLOW", -1, "a", 0, AT_SYMLINK_NOFOLLOW);
	CALL(statfs, "\"/none\", 0x10", "/none", BAD);
	CALL(fstatfs, "-1, 0x10", -1, BAD);
	CALL(sendfile, "-1, -1, NULL, 10", -1, -1, 0, 10);
	CALL(copy_file_range, "-1, NULL, -1, NULL, 10, 0", -1, 0, -1, 0, 10, 0);
	CALL(splice, "-1, NULL, -1, NULL, 10, SPLICE_F_MOVE|SPLICE_F_MORE", -1, 0, -1, 0, 10, 5);
	CALL(tee, "-1, -1, 10, SPLICE_F_NONBLOCK", -1, -1, 10, 2);
	CALL(vmsplice, "-1, 0x10, 1, SPLICE_F_GIFT", -1, BAD, 1, 8);
	CALL(mount, "\"a\", \"/none\", NULL, MS_RDONLY|MS_BIND, NULL", "a", "/none", 0, 1 | 4096, 0);
	CALL(umount2, "\"/none\", MNT_DETACH", "/none", 2);
	CALL(chroot, "\"/none\"", "/none");
	CALL(name_to_handle_at, "-1, \"a\", 0x10, 0x10, AT_EMPTY_PATH", -1, "a", BAD, BAD, AT_EMPTY_PATH);
}

static void attributes_and_watches(void)
{
	CALL(setxattr, "\"/none\", 0x10, 0x10, 4, XATTR_CREATE", "/none", BAD, BAD, 4, 1);
	CALL(lsetxattr, "\"/none\", 0x10, 0x10, 4, XATTR_REPLACE", "/none", BAD, BAD, 4, 2);
	CALL(fsetxattr, "-1, 0x10, 0x10, 4, 0", -1, BAD, BAD, 4, 0);
	CALL(getxattr, "\"/none\", 0x10, 0x10, 4", "/none", BAD, BAD, 4);
	CALL(lgetxattr, "\"/none\", 0x10, 0x10, 4", "/none", BAD, BAD, 4);
	CALL(fgetxattr, "-1, 0x10, 0x10, 4", -1, BAD, BAD, 4);
	CALL(listxattr, "\"/none\", 0x10, 4", "/none", BAD, 4);
	CALL(llistxattr, "\"/none\", 0x10, 4", "/none", BAD, 4);
	CALL(flistxattr, "-1, 0x10, 4", -1, BAD, 4);
	CALL(removexattr, "\"/none\", 0x10", "/none", BAD);
	CALL(lremovexattr, "\"/none\", 0x10", "/none", BAD);
	CALL(fremovexattr, "-1, 0x10", -1, BAD);
	CALL(inotify_add_watch, "-1, \"/none\", IN_MODIFY|IN_CREATE", -1, "/none", 0x102);
	CALL(inotify_rm_watch, "-1, 3", -1, 3);
	CALL(epoll_create, "0", 0);
	CALL(epoll_create1, "0x1", 1);
	CALL(epoll_ctl, "-1, EPOLL_CTL_ADD, -1, 0x10", -1, 1, -1, BAD);
	CALL(epoll_wait, "-1, 0x10, 4, -1", -1, BAD, 4, -1);
	CALL(epoll_pwait, "-1, 0x10, 4, -1, NULL, 8", -1, BAD, 4, -1, 0, 8);
	CALL(eventfd2, "5, 0x100", 5, 0x100);
	CALL(timerfd_create, "0x63, TFD_CLOEXEC", 99, 02000000);
	CALL(timerfd_settime, "-1, TFD_TIMER_ABSTIME, 0x10, NULL", -1, 1, BAD, 0);
	CALL(timerfd_gettime, "-1, 0x10", -1, BAD);
	CALL(signalfd4, "-1, 0x10, 8, SFD_CLOEXEC", -1, BAD, 8, 02000000);
	CALL(memfd_create, "0x10, MFD_CLOEXEC|MFD_ALLOW_SEALING", BAD, 3);
	CALL(poll, "0x10, 1, -1", BAD, 1, -1);
	CALL(ppoll, "0x10, 1, NULL, NULL, 8", BAD, 1, 0, 0, 8);
	CALL(select, "-1, NULL, NULL, NULL, NULL", -1, 0, 0, 0, 0);
	CALL(io_uring_setup, "0, 0x10", 0, BAD);
	CALL(io_uring_enter, "-1, 1, 0, IORING_ENTER_GETEVENTS, NULL, 0", -1, 1, 0, 1, 0, 0);
	CALL(io_uring_register, "-1, IORING_UNREGISTER_BUFFERS, 0x10, 2", -1, 1, BAD, 2);
}

static void memory(void)
{
	CALL(mmap, "NULL, 0, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0", 0, 0, 3, 0x22, -1, 0);
	CALL(mmap, "0x1, 4096, PROT_NONE, MAP_SHARED|MAP_FIXED, -1, 0x1000", 1, 4096, 0, 0x11, -1, 4096);
	CALL(mprotect, "0x1, 4096, PROT_READ|PROT_EXEC", 1, 4096, 5);
	CALL(munmap, "0x1, 4096", 1, 4096);
	CALL(mremap, "0x1, 4096, 8192, MREMAP_MAYMOVE", 1, 4096, 8192, 1);
	CALL(msync, "0x1, 4096, MS_SYNC", 1, 4096, 4);
	CALL(mincore, "0x1, 4096, 0x10", 1, 4096, BAD);
	CALL(madvise, "0x1, 4096, MADV_DONTNEED", 1, 4096, 4);
	CALL(mlock, "NULL, 0", 0, 0);
	CALL(mlock2, "NULL, 0, MLOCK_ONFAULT", 0, 0, 1);
	CALL(munlock, "NULL, 0", 0, 0);
	CALL(mlockall, "0x10", 0x10);
	CALL(shmget, "0x5, 0, 000", 5, 0, 0);
	CALL(shmctl, "-1, IPC_STAT, 0x10", -1, 2, BAD);
	CALL(shmdt, "0x1", 1);
	CALL(semctl, "-1, 0, IPC_STAT, 0x10", -1, 0, 2, BAD);
	CALL(msgctl, "-1, IPC_STAT, 0x10", -1, 2, BAD);
	CALL(membarrier, "MEMBARRIER_CMD_QUERY, MEMBARRIER_CMD_FLAG_CPU|0x4, 0", 0, 5, 0);
}

static void sockets(void)
{
	CALL(socket, "AF_INET, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, -1", AF_INET, 1 | 02000000 | 04000, -1);
	CALL(socketpair, "AF_UNIX, SOCK_DGRAM, 0, 0x10", AF_UNIX, 2, 0, BAD);
	CALL(bind, "-1, 0x10, 16", -1, BAD, 16);
	CALL(connect, "-1, NULL, 0", -1, 0, 0);
	CALL(listen, "-1, 5", -1, 5);
	CALL(accept, "-1, NULL, NULL", -1, 0, 0);
	CALL(accept4, "-1, NULL, NULL, SOCK_CLOEXEC", -1, 0, 0, 02000000);
	CALL(getsockname, "-1, 0x10, 0x10", -1, BAD, BAD);
	CALL(getpeername, "-1, 0x10, 0x10", -1, BAD, BAD);
	CALL(sendto, "-1, 0x10, 4, MSG_DONTWAIT|MSG_NOSIGNAL, NULL, 0", -1, BAD, 4, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
	CALL(recvfrom, "-1, 0x10, 4, MSG_PEEK, NULL, NULL", -1, BAD, 4, MSG_PEEK, 0, 0);
	CALL(sendmsg, "-1, 0x10, 0", -1, BAD, 0);
	CALL(recvmsg, "-1, 0x10, MSG_WAITALL", -1, BAD, MSG_WAITALL);
	CALL(shutdown, "-1, SHUT_WR", -1, SHUT_WR);
	CALL(setsockopt, "-1, SOL_SOCKET, SO_REUSEADDR, 0x10, 4", -1, SOL_SOCKET, SO_REUSEADDR, BAD, 4);
	CALL(getsockopt, "-1, SOL_SOCKET, SO_ERROR, 0x10, 0x10", -1, SOL_SOCKET, SO_ERROR, BAD, BAD);
}

static void processes(void)
{
	CALL(wait4, "-1, NULL, WNOHANG|WSTOPPED, NULL", -1, 0, WNOHANG | WUNTRACED, 0);
	CALL(waitid, "P_ALL, 0, NULL, WNOHANG|WEXITED, NULL", P_ALL, 0, 0, WNOHANG | WEXITED, 0);
	CALL(kill, "2147483647, SIGTERM", 2147483647, SIGTERM);
	CALL(tkill, "-1, SIGINT", -1, SIGINT);
	CALL(tgkill, "-1, -1, SIGUSR1", -1, -1, SIGUSR1);
	CALL(rt_sigaction, "SIGKILL, 0x10, NULL, 8", SIGKILL, BAD, 0, 8);
	CALL(rt_sigprocmask, "SIG_SETMASK, 0x10, NULL, 8", SIG_SETMASK, BAD, 0, 8);
	CALL(rt_sigpending, "0x10, 8", BAD, 8);
	CALL(sigaltstack, "0x10, NULL", BAD, 0);
	CALL(getpgid, "-1", -1);
	CALL(getsid, "-1", -1);
	CALL(setpgid, "-1, 5", -1, 5);
	CALL(getgroups, "-1, NULL", -1, 0);
	CALL(getresuid, "0x10, 0x10, 0x10", BAD, BAD, BAD);
	CALL(getresgid, "0x10, 0x10, 0x10", BAD, BAD, BAD);
	CALL(capget, "0x10, NULL", BAD, 0);
	CALL(getrlimit, "RLIMIT_NOFILE, 0x10", 7, BAD);
	CALL(prlimit64, "0, RLIMIT_STACK, NULL, 0x10", 0, 3, 0, BAD);
	CALL(getrusage, "RUSAGE_CHILDREN, 0x10", -1, BAD);
	CALL(getpriority, "PRIO_PGRP, 2147483647", 1, 2147483647);
	CALL(sched_getscheduler, "-1", -1);
	CALL(sched_getparam, "-1, 0x10", -1, BAD);
	CALL(sched_setscheduler, "-1, SCHED_FIFO, NULL", -1, 1, 0);
	CALL(sched_get_priority_max, "SCHED_BATCH", 3);
	CALL(sched_getaffinity, "-1, 8, 0x10", -1, 8, BAD);
	CALL(unshare, "0x1", 1);
	CALL(setns, "-1, CLONE_NEWNET", -1, 0x40000000);
	CALL(execve, "\"/none\", NULL, NULL", "/none", 0, 0);
	CALL(execveat, "-1, \"a\", NULL, NULL, AT_EMPTY_PATH", -1, "a", 0, 0, AT_EMPTY_PATH);
	CALL(clone3, "0x10, 1", BAD, 1);
	CALL(pidfd_open, "-1, PIDFD_NONBLOCK", -1, 04000);
	CALL(pidfd_send_signal, "-1, SIGTERM, NULL, 0", -1, SIGTERM, 0, 0);
	CALL(close_range, "5, 4, CLOSE_RANGE_CLOEXEC", 5, 4, 4);
	CALL(futex, "0x10, FUTEX_WAKE_PRIVATE, 1", BAD, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
	CALL(set_robust_list, "NULL, 0", 0, 0);
	CALL(prctl, "PR_GET_DUMPABLE, 0, 0, 0, 0", 3, 0, 0, 0, 0);
	CALL(arch_prctl, "ARCH_GET_FS, 0x10", 0x1003, BAD);
}

static void times_and_the_rest(void)
{
	CALL(nanosleep, "0x10, NULL", BAD, 0);
	CALL(clock_nanosleep, "CLOCK_MONOTONIC, TIMER_ABSTIME, 0x10, NULL", 1, 1, BAD, 0);
	CALL(clock_gettime, "CLOCK_BOOTTIME, 0x10", 7, BAD);
	CALL(clock_getres, "CLOCK_REALTIME, 0x10", 0, BAD);
	CALL(gettimeofday, "0x10, NULL", BAD, 0);
	CALL(time, "0x10", BAD);
	CALL(times, "0x10", BAD);
	CALL(getitimer, "ITIMER_REAL, 0x10", 0, BAD);
	CALL(setitimer, "ITIMER_PROF, 0x10, NULL", 2, BAD, 0);
	CALL(timer_gettime, "77, 0x10", 77, BAD);
	CALL(timer_delete, "77", 77);
	CALL(uname, "0x10", BAD);
	CALL(sysinfo, "0x10", BAD);
	CALL(getrandom, "0x10, 4, GRND_NONBLOCK", BAD, 4, 1);
	CALL(getppid, "");
	CALL(getuid, "");
	CALL(geteuid, "");
	CALL(getgid, "");
	CALL(getegid, "");
	CALL(gettid, "");
	CALL(getpid, "");
	CALL(getpgrp, "");
	CALL(sched_yield, "");
	CALL(umask, "022", 022);
	CALL(personality, "0xffffffff", 0xffffffff);
	CALL(mq_unlink, "\"none\"", "none");
	CALL(swapoff, "\"/none\"", "/none");
}

int main(void)
{
	raw(SYS_getpriority, 77, 1, 0, 0, 0, 0);
	files();
	attributes_and_watches();
	memory();
	sockets();
	processes();
	times_and_the_rest();
	raw(SYS_getpriority, 77, 2, 0, 0, 0, 0);
	fwrite(lines, 1, used, stdout);
	return 0;
}

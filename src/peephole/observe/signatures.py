"""What each argument of each system call is: descriptors, paths, flags with their names.

A line a call: its name, then a kind for each argument. Kinds are those of decode.py: plain ones (fd path path2 ptr int
long uint size off mode) and the named sets below.
"""

from __future__ import annotations

from peephole.observe.strace_args import SYMBOLS

_SIGNATURES = """
read fd ptr size;write fd ptr size;open path open mode;close fd;stat path ptr;fstat fd ptr;lstat path ptr
poll ptr uint int;lseek fd off whence;mmap ptr size prot map fd place;mprotect ptr size prot;munmap ptr size;brk ptr
rt_sigaction signal ptr ptr size;rt_sigprocmask sighow ptr ptr size;rt_sigreturn;ioctl fd ioctl ptr
pread64 fd ptr size off;pwrite64 fd ptr size off;readv fd ptr size;writev fd ptr size;access path access;pipe ptr
select int ptr ptr ptr ptr;sched_yield;mremap ptr size size mremap ptr;msync ptr size msync;mincore ptr size ptr
madvise ptr size madvise;shmget key size ipc;shmat int ptr shm;shmctl int ipccmd ptr;dup fd;dup2 fd fd;pause
nanosleep ptr ptr;getitimer itimer ptr;alarm uint;setitimer itimer ptr ptr;getpid;sendfile fd fd ptr size
socket family socktype int;connect fd ptr int;accept fd ptr ptr;sendto fd ptr size msg ptr int
recvfrom fd ptr size msg ptr ptr;sendmsg fd ptr msg;recvmsg fd ptr msg;shutdown fd shut;bind fd ptr int;listen fd int
getsockname fd ptr ptr;getpeername fd ptr ptr;socketpair family socktype int ptr;setsockopt fd solevel sockopt ptr int
getsockopt fd solevel sockopt ptr ptr;clone clone ptr ptr ptr ptr;fork;vfork;execve path ptr ptr;exit int
wait4 int ptr wait ptr;kill int signal;uname ptr;semget key int ipc;semop int ptr uint;semctl int int ipccmd ptr
shmdt ptr;msgget key ipc;msgsnd int ptr size msgflags;msgrcv int ptr size long msgflags;msgctl int ipccmd ptr
fcntl fd fcntl long
flock fd lock;fsync fd;fdatasync fd;truncate path off;ftruncate fd off;getdents fd ptr uint;getcwd ptr size;chdir path
fchdir fd;rename path path2;mkdir path mode;rmdir path;creat path mode;link path path2;unlink path;symlink path path2
readlink path ptr size;chmod path mode;fchmod fd mode;chown path int int;fchown fd int int;lchown path int int
umask mode;gettimeofday ptr ptr;getrlimit resource ptr;getrusage who ptr;sysinfo ptr;times ptr
ptrace int int ptr ptr;getuid;syslog int ptr int;getgid;setuid int;setgid int;geteuid;getegid;setpgid int int;getppid
getpgrp;setsid;setreuid int int;setregid int int;getgroups int ptr;setgroups int ptr;setresuid int int int
getresuid ptr ptr ptr;setresgid int int int;getresgid ptr ptr ptr;getpgid int;setfsuid int;setfsgid int;getsid int
capget ptr ptr;capset ptr ptr;rt_sigpending ptr size;rt_sigtimedwait ptr ptr ptr size;rt_sigqueueinfo int signal ptr
rt_sigsuspend ptr size;sigaltstack ptr ptr;utime path ptr;mknod path mode uint;personality hex;ustat uint ptr
statfs path ptr;fstatfs fd ptr;sysfs int long long;getpriority priority int;setpriority priority int int
sched_setparam int ptr;sched_getparam int ptr;sched_setscheduler int policy ptr;sched_getscheduler int
sched_get_priority_max policy;sched_get_priority_min policy;sched_rr_get_interval int ptr;mlock ptr size
munlock ptr size;mlockall mlockall;munlockall;vhangup;pivot_root path path2;prctl prctl long long long long
arch_prctl archprctl ptr;adjtimex ptr;setrlimit resource ptr;chroot path;sync;acct path;settimeofday ptr ptr
mount path path2 ptr mount ptr;umount2 path umount;swapon path uint;swapoff path;sethostname ptr size
setdomainname ptr size;gettid;readahead fd off size;setxattr path ptr ptr size xattr;lsetxattr path ptr ptr size xattr
fsetxattr fd ptr ptr size xattr;getxattr path ptr ptr size;lgetxattr path ptr ptr size;fgetxattr fd ptr ptr size
listxattr path ptr size;llistxattr path ptr size;flistxattr fd ptr size;removexattr path ptr;lremovexattr path ptr
fremovexattr fd ptr;tkill int signal;time ptr;futex ptr futex uint ptr ptr uint;sched_setaffinity int size ptr
sched_getaffinity int size ptr;io_setup uint ptr;io_destroy ptr;io_getevents ptr long long ptr ptr
io_submit ptr long ptr;io_cancel ptr ptr ptr;epoll_create int;getdents64 fd ptr uint;set_tid_address ptr;restart_syscall
semtimedop int ptr uint ptr;fadvise64 fd off size fadvise;timer_create clock ptr ptr;timer_settime int int ptr ptr
timer_gettime int ptr;timer_getoverrun int;timer_delete int;clock_settime clock ptr;clock_gettime clock ptr
clock_getres clock ptr;clock_nanosleep clock timerflags ptr ptr;exit_group int;epoll_wait fd ptr int int
epoll_ctl fd epollctl fd ptr;tgkill int int signal;utimes path ptr;mq_open path open mode ptr;mq_unlink path
mq_timedsend fd ptr size uint ptr;mq_timedreceive fd ptr size ptr ptr;waitid idtype int ptr wait ptr
ioprio_set int int int;ioprio_get int int;inotify_init;inotify_add_watch fd path inotify;inotify_rm_watch fd int
openat fd path open mode;mkdirat fd path mode;mknodat fd path mode uint;fchownat fd path int int at
futimesat fd path ptr;newfstatat fd path ptr at;unlinkat fd path unlinkat;renameat fd path fd path2
linkat fd path fd path2 at;symlinkat path fd path2;readlinkat fd path ptr size;fchmodat fd path mode
faccessat fd path access;pselect6 int ptr ptr ptr ptr ptr;ppoll ptr uint ptr ptr size;unshare namespaces
set_robust_list ptr size;get_robust_list int ptr ptr;splice fd ptr fd ptr size splice;tee fd fd size splice
sync_file_range fd off off syncrange;vmsplice fd ptr size splice;utimensat fd path ptr at
epoll_pwait fd ptr int int ptr size;signalfd fd ptr size;timerfd_create clock timerfd;eventfd uint
fallocate fd fallocate off off;timerfd_settime fd timerfdset ptr ptr;timerfd_gettime fd ptr;accept4 fd ptr ptr sockflags
signalfd4 fd ptr size sfd;eventfd2 uint eventfd;epoll_create1 epollcreate;dup3 fd fd opened;pipe2 ptr opened
inotify_init1 inotifyinit;preadv fd ptr size off long;pwritev fd ptr size off long;rt_tgsigqueueinfo int int signal ptr
perf_event_open ptr int int fd uint;recvmmsg fd ptr uint msg ptr;fanotify_init uint uint
fanotify_mark fd uint long fd path;prlimit64 int resource ptr ptr;name_to_handle_at fd path ptr ptr at
open_by_handle_at fd ptr open;clock_adjtime clock ptr;syncfs fd;sendmmsg fd ptr uint msg;setns fd namespaces
getcpu ptr ptr ptr;process_vm_readv int ptr size ptr size size;process_vm_writev int ptr size ptr size size
kcmp int int int long long;sched_setattr int ptr uint;sched_getattr int ptr uint uint
renameat2 fd path fd path2 rename;seccomp uint uint ptr;getrandom ptr size random;memfd_create path memfd
bpf int ptr uint;execveat fd path ptr ptr at;userfaultfd opened;membarrier membarrier membarrierflags int
mlock2 ptr size mlock2
copy_file_range fd ptr fd ptr size uint;preadv2 fd ptr size off long rwf;pwritev2 fd ptr size off long rwf
pkey_mprotect ptr size prot int;pkey_alloc uint uint;pkey_free int;statx fd path statx statxmask ptr
io_pgetevents ptr long long ptr ptr ptr;rseq ptr uint int uint;pidfd_send_signal fd signal ptr uint
io_uring_setup uint ptr;io_uring_enter fd uint uint uringenter ptr size;io_uring_register fd uringregister ptr uint
open_tree fd path uint;move_mount fd path fd path2 uint;fsopen path uint;fsconfig fd uint ptr ptr int
fsmount fd uint uint;fspick fd path uint;pidfd_open int pidfd;clone3 ptr size;close_range uint uint closerange
openat2 fd path ptr size;pidfd_getfd fd fd uint;faccessat2 fd path access at;process_madvise fd ptr size madvise uint
epoll_pwait2 fd ptr int ptr ptr size;mount_setattr fd path at ptr size;landlock_create_ruleset ptr size uint
landlock_add_rule fd int ptr uint;landlock_restrict_self fd uint;memfd_secret uint;process_mrelease fd uint
futex_waitv ptr uint uint ptr clock;cachestat fd ptr ptr uint;fchmodat2 fd path mode at;mseal ptr size uint
"""

#: name of the call -> kinds of its arguments
SIGNATURES: dict[str, tuple[str, ...]] = {
    words.split()[0]: tuple(words.split()[1:]) for words in _SIGNATURES.replace("\n", ";").split(";") if words
}


def _named(*prefixes: str, less: str = "") -> dict[str, int]:
    """The constants that start so, without those in `less`."""
    skip = set(less.split())
    found = {name.decode(): value for name, value in SYMBOLS.items() if name.decode().startswith(prefixes)}
    return {name: value for name, value in found.items() if name not in skip}


def _listed(text: str) -> dict[str, int]:
    """`NAME=0x10 NAME=2 …`; a name without a number is one more than the last."""
    found, last = {}, -1
    for word in text.split():
        name, _, value = word.partition("=")
        last = int(value, 0) if value else last + 1
        found[name] = last
    return found


_AT = "AT_SYMLINK_NOFOLLOW=0x100 AT_SYMLINK_FOLLOW=0x400 AT_NO_AUTOMOUNT=0x800 AT_EMPTY_PATH=0x1000"
_SOCK = {"SOCK_CLOEXEC": 0o2000000, "SOCK_NONBLOCK": 0o4000}
_OPEN_LESS = "O_RDONLY O_ACCMODE O_NDELAY O_FSYNC O_RSYNC O_LARGEFILE"

#: sets of which one holds; the name of 0 is in it where 0 has one
ENUMS: dict[str, dict[str, int]] = {
    "whence": _listed("SEEK_SET SEEK_CUR SEEK_END SEEK_DATA SEEK_HOLE"),
    "madvise": _named("MADV_"),
    "family": _named("AF_"),
    "shut": _listed("SHUT_RD SHUT_WR SHUT_RDWR"),
    "fcntl": _listed(
        "F_DUPFD F_GETFD F_SETFD F_GETFL F_SETFL F_GETLK F_SETLK F_SETLKW F_SETOWN F_GETOWN F_SETSIG F_GETSIG "
        "F_SETOWN_EX=15 F_GETOWN_EX F_OFD_GETLK=36 F_OFD_SETLK F_OFD_SETLKW F_SETLEASE=1024 F_GETLEASE F_NOTIFY "
        "F_DUPFD_CLOEXEC=1030 F_SETPIPE_SZ F_GETPIPE_SZ F_ADD_SEALS F_GET_SEALS"
    ),
    "signal": {name: value for name, value in _named("SIG").items() if "_" not in name and 0 < value < 32},
    "sighow": _listed("SIG_BLOCK SIG_UNBLOCK SIG_SETMASK"),
    "itimer": _listed("ITIMER_REAL ITIMER_VIRTUAL ITIMER_PROF"),
    "resource": _listed(
        "RLIMIT_CPU RLIMIT_FSIZE RLIMIT_DATA RLIMIT_STACK RLIMIT_CORE RLIMIT_RSS RLIMIT_NPROC RLIMIT_NOFILE "
        "RLIMIT_MEMLOCK RLIMIT_AS RLIMIT_LOCKS RLIMIT_SIGPENDING RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO "
        "RLIMIT_RTTIME"
    ),
    "who": _listed("RUSAGE_CHILDREN=-1 RUSAGE_SELF RUSAGE_THREAD"),
    "priority": _listed("PRIO_PROCESS PRIO_PGRP PRIO_USER"),
    "policy": _listed("SCHED_OTHER SCHED_FIFO SCHED_RR SCHED_BATCH SCHED_ISO SCHED_IDLE SCHED_DEADLINE"),
    "clock": _listed(
        "CLOCK_REALTIME CLOCK_MONOTONIC CLOCK_PROCESS_CPUTIME_ID CLOCK_THREAD_CPUTIME_ID CLOCK_MONOTONIC_RAW "
        "CLOCK_REALTIME_COARSE CLOCK_MONOTONIC_COARSE CLOCK_BOOTTIME CLOCK_REALTIME_ALARM CLOCK_BOOTTIME_ALARM "
        "CLOCK_TAI=11"
    ),
    "solevel": _listed("SOL_IP SOL_SOCKET=1 SOL_TCP=6 SOL_UDP=17 SOL_IPV6=41 SOL_NETLINK=270"),
    "sockopt": _listed(
        "SO_DEBUG=1 SO_REUSEADDR SO_TYPE SO_ERROR SO_DONTROUTE SO_BROADCAST SO_SNDBUF SO_RCVBUF SO_KEEPALIVE "
        "SO_OOBINLINE SO_NO_CHECK SO_PRIORITY SO_LINGER SO_BSDCOMPAT SO_REUSEPORT SO_PASSCRED SO_PEERCRED SO_RCVLOWAT "
        "SO_SNDLOWAT SO_RCVTIMEO_OLD SO_SNDTIMEO_OLD SO_ACCEPTCONN=30 SO_PROTOCOL=38 SO_DOMAIN"
    ),
    "epollctl": _listed("EPOLL_CTL_ADD=1 EPOLL_CTL_DEL EPOLL_CTL_MOD"),
    "fadvise": _named("POSIX_FADV_"),
    "prctl": _listed(
        "PR_SET_PDEATHSIG=1 PR_GET_PDEATHSIG PR_GET_DUMPABLE PR_SET_DUMPABLE PR_SET_NAME=15 PR_GET_NAME "
        "PR_GET_SECCOMP=21 "
        "PR_SET_SECCOMP PR_CAPBSET_READ PR_CAPBSET_DROP PR_SET_TIMERSLACK=29 PR_GET_TIMERSLACK "
        "PR_SET_CHILD_SUBREAPER=36 "
        "PR_GET_CHILD_SUBREAPER PR_SET_NO_NEW_PRIVS PR_GET_NO_NEW_PRIVS PR_SET_VMA=0x53564d41"
    ),
    "archprctl": _listed("ARCH_SET_GS=0x1001 ARCH_SET_FS ARCH_GET_FS ARCH_GET_GS ARCH_GET_CPUID=0x1011 ARCH_SET_CPUID"),
    "idtype": _listed("P_ALL P_PID P_PGID P_PIDFD"),
    "ioctl": _listed(
        "TCGETS=0x5401 TCSETS TCSETSW TCSETSF TIOCSCTTY=0x540E TIOCGPGRP TIOCSPGRP TIOCGWINSZ=0x5413 TIOCSWINSZ "
        "FIONREAD=0x541B FIONBIO=0x5421 TIOCNOTTY FIONCLEX=0x5450 FIOCLEX FICLONE=0x40049409 FICLONERANGE=0x4020940D"
    ),
    "uringregister": _listed(
        "IORING_REGISTER_BUFFERS IORING_UNREGISTER_BUFFERS IORING_REGISTER_FILES IORING_UNREGISTER_FILES "
        "IORING_REGISTER_EVENTFD IORING_UNREGISTER_EVENTFD IORING_REGISTER_FILES_UPDATE IORING_REGISTER_EVENTFD_ASYNC "
        "IORING_REGISTER_PROBE IORING_REGISTER_PERSONALITY IORING_UNREGISTER_PERSONALITY"
    ),
    "ipccmd": _listed("IPC_RMID IPC_SET IPC_STAT IPC_INFO"),
    "membarrier": _listed(
        "MEMBARRIER_CMD_QUERY MEMBARRIER_CMD_GLOBAL MEMBARRIER_CMD_GLOBAL_EXPEDITED=2 "
        "MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED=4 MEMBARRIER_CMD_PRIVATE_EXPEDITED=8 "
        "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED=16"
    ),
}
#: sets that are or-ed together; a name of 0 stands for none of them
FLAGS: dict[str, dict[str, int]] = {
    "open": _named("O_", less=_OPEN_LESS) | {"O_RDONLY": 0},
    "prot": _listed("PROT_NONE PROT_READ PROT_WRITE PROT_EXEC=4 PROT_GROWSDOWN=0x1000000 PROT_GROWSUP=0x2000000"),
    "map": _listed(
        "MAP_SHARED_VALIDATE=3 MAP_SHARED=1 MAP_PRIVATE MAP_FIXED=0x10 MAP_ANONYMOUS=0x20 MAP_32BIT=0x40 "
        "MAP_GROWSDOWN=0x100 MAP_DENYWRITE=0x800 MAP_EXECUTABLE=0x1000 MAP_LOCKED=0x2000 MAP_NORESERVE=0x4000 "
        "MAP_POPULATE=0x8000 MAP_NONBLOCK=0x10000 MAP_STACK=0x20000 MAP_HUGETLB=0x40000 MAP_SYNC=0x80000 "
        "MAP_FIXED_NOREPLACE=0x100000"
    ),
    "access": _listed("F_OK R_OK=4 W_OK=2 X_OK=1"),
    "mremap": _listed("MREMAP_MAYMOVE=1 MREMAP_FIXED MREMAP_DONTUNMAP=4"),
    "msync": _listed("MS_ASYNC=1 MS_INVALIDATE MS_SYNC=4"),
    "ipc": _listed("IPC_CREAT=0o1000 IPC_EXCL=0o2000"),
    "msgflags": _listed("IPC_NOWAIT=0o4000 MSG_NOERROR=0o10000 MSG_EXCEPT=0o20000"),
    "membarrierflags": _listed("MEMBARRIER_CMD_FLAG_CPU=1"),
    "shm": _listed("SHM_RDONLY=0o10000 SHM_RND=0o20000 SHM_REMAP=0o40000 SHM_EXEC=0o100000"),
    "msg": _named("MSG_"),
    "clone": _listed("CLONE_NEWTIME=0x80")
    | _named("CLONE_")
    | _listed(
        "CLONE_UNTRACED=0x800000 CLONE_NEWCGROUP=0x2000000 CLONE_NEWUTS=0x4000000 CLONE_NEWIPC=0x8000000 "
        "CLONE_NEWUSER=0x10000000 CLONE_NEWPID=0x20000000 CLONE_NEWNET=0x40000000 CLONE_IO=0x80000000"
    ),
    "wait": _listed(
        "WNOHANG=1 WSTOPPED WEXITED=4 WCONTINUED=8 WNOWAIT=0x1000000 __WALL=0x40000000 __WCLONE=0x80000000"
    ),
    "lock": _listed("LOCK_SH=1 LOCK_EX LOCK_NB=4 LOCK_UN=8"),
    "mlockall": _listed("MCL_CURRENT=1 MCL_FUTURE MCL_ONFAULT=4"),
    "mlock2": _listed("MLOCK_ONFAULT=1"),
    "mount": _listed(
        "MS_RDONLY=1 MS_NOSUID MS_NODEV=4 MS_NOEXEC=8 MS_SYNCHRONOUS=16 MS_REMOUNT=32 MS_MANDLOCK=64 MS_DIRSYNC=128 "
        "MS_NOATIME=1024 MS_NODIRATIME=2048 MS_BIND=4096 MS_MOVE=8192 MS_REC=16384 MS_SILENT=32768 "
        "MS_UNBINDABLE=0x20000 "
        "MS_PRIVATE=0x40000 MS_SLAVE=0x80000 MS_SHARED=0x100000 MS_RELATIME=0x200000 MS_STRICTATIME=0x1000000"
    ),
    "umount": _listed("MNT_FORCE=1 MNT_DETACH MNT_EXPIRE=4 UMOUNT_NOFOLLOW=8"),
    "at": _listed(_AT),
    "statx": _listed(f"AT_STATX_FORCE_SYNC=0x2000 AT_STATX_DONT_SYNC=0x4000 {_AT}"),
    "unlinkat": _listed("AT_REMOVEDIR=0x200"),
    "splice": _listed("SPLICE_F_MOVE=1 SPLICE_F_NONBLOCK SPLICE_F_MORE=4 SPLICE_F_GIFT=8"),
    "syncrange": _listed("SYNC_FILE_RANGE_WAIT_BEFORE=1 SYNC_FILE_RANGE_WRITE SYNC_FILE_RANGE_WAIT_AFTER=4"),
    "timerflags": _listed("TIMER_ABSTIME=1"),
    "timerfd": _listed("TFD_NONBLOCK=0o4000 TFD_CLOEXEC=0o2000000"),
    "timerfdset": _listed("TFD_TIMER_ABSTIME=1 TFD_TIMER_CANCEL_ON_SET"),
    "sfd": _listed("SFD_NONBLOCK=0o4000 SFD_CLOEXEC=0o2000000"),
    "eventfd": _listed("EFD_SEMAPHORE=1 EFD_NONBLOCK=0o4000 EFD_CLOEXEC=0o2000000"),
    "epollcreate": _listed("EPOLL_CLOEXEC=0o2000000"),
    "inotifyinit": _listed("IN_NONBLOCK=0o4000 IN_CLOEXEC=0o2000000"),
    "inotify": _listed(
        "IN_ACCESS=1 IN_MODIFY IN_ATTRIB=4 IN_CLOSE_WRITE=8 IN_CLOSE_NOWRITE=0x10 IN_OPEN=0x20 IN_MOVED_FROM=0x40 "
        "IN_MOVED_TO=0x80 IN_CREATE=0x100 IN_DELETE=0x200 IN_DELETE_SELF=0x400 IN_MOVE_SELF=0x800 IN_ONLYDIR=0x1000000 "
        "IN_DONT_FOLLOW=0x2000000 IN_MASK_ADD=0x20000000 IN_ONESHOT=0x80000000"
    ),
    "sockflags": _SOCK,
    "fallocate": _named("FALLOC_FL_") | _listed("FALLOC_FL_INSERT_RANGE=0x20 FALLOC_FL_UNSHARE_RANGE=0x40"),
    "rename": _named("RENAME_"),
    "random": _listed("GRND_NONBLOCK=1 GRND_RANDOM GRND_INSECURE=4"),
    "memfd": _listed("MFD_CLOEXEC=1 MFD_ALLOW_SEALING MFD_HUGETLB=4 MFD_NOEXEC_SEAL=8 MFD_EXEC=16"),
    "rwf": _listed("RWF_HIPRI=1 RWF_DSYNC RWF_SYNC=4 RWF_NOWAIT=8 RWF_APPEND=16"),
    "statxmask": _listed(
        "STATX_BASIC_STATS=0x7ff STATX_TYPE=1 STATX_MODE STATX_NLINK=4 STATX_UID=8 STATX_GID=16 STATX_ATIME=32 "
        "STATX_MTIME=64 STATX_CTIME=128 STATX_INO=256 STATX_SIZE=512 STATX_BLOCKS=1024 STATX_BTIME=2048 "
        "STATX_MNT_ID=4096"
    ),
    "uringenter": _listed(
        "IORING_ENTER_GETEVENTS=1 IORING_ENTER_SQ_WAKEUP IORING_ENTER_SQ_WAIT=4 IORING_ENTER_EXT_ARG=8"
    ),
    "pidfd": _listed("PIDFD_NONBLOCK=0o4000 PIDFD_THREAD=0o200"),
    "xattr": _listed("XATTR_CREATE=1 XATTR_REPLACE"),
    "closerange": _listed("CLOSE_RANGE_UNSHARE=2 CLOSE_RANGE_CLOEXEC=4"),
}
FLAGS["namespaces"] = FLAGS["clone"]
FLAGS["opened"] = {name: bits for name, bits in FLAGS["open"].items() if bits > 3}
SOCKET_TYPES = _listed("SOCK_STREAM=1 SOCK_DGRAM SOCK_RAW SOCK_RDM SOCK_SEQPACKET SOCK_DCCP SOCK_PACKET=10")
SOCKET_FLAGS = _SOCK
FUTEX = _listed(
    "FUTEX_WAIT FUTEX_WAKE FUTEX_FD FUTEX_REQUEUE FUTEX_CMP_REQUEUE FUTEX_WAKE_OP FUTEX_LOCK_PI FUTEX_UNLOCK_PI "
    "FUTEX_TRYLOCK_PI FUTEX_WAIT_BITSET FUTEX_WAKE_BITSET FUTEX_WAIT_REQUEUE_PI FUTEX_CMP_REQUEUE_PI FUTEX_LOCK_PI2"
)
FUTEX_FLAGS = _listed("FUTEX_PRIVATE_FLAG=128 FUTEX_CLOCK_REALTIME=256")

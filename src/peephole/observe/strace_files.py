"""Open file descriptions put together from strace text: who has which open, under which number, and where it stands."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from peephole.observe.strace_args import AT_FDCWD, annotation, number, string, unescape

#: Which argument (from 1) is what, as in core/record/shapes.h (a test compares them); `new`: a descriptor comes back
_SHAPES = """
fd1: read write pread64 pwrite64 readv writev preadv pwritev preadv2 pwritev2 lseek fstat fstatfs fsync fdatasync
    ftruncate fallocate fadvise64 readahead flock fchmod fchown fchdir getdents getdents64 ioctl fcntl dup dup2 dup3
    sendfile copy_file_range splice tee vmsplice sync_file_range syncfs cachestat fsetxattr fgetxattr flistxattr
    fremovexattr close connect bind listen shutdown sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg getsockname
    getpeername setsockopt getsockopt epoll_wait epoll_pwait epoll_pwait2 epoll_ctl timerfd_settime timerfd_gettime
    io_uring_enter io_uring_register inotify_rm_watch pidfd_send_signal mq_timedsend mq_timedreceive
fd5: mmap
fd1 path2: inotify_add_watch newfstatat statx faccessat faccessat2 readlinkat unlinkat mkdirat mknodat fchmodat
    fchmodat2 fchownat futimesat utimensat execveat setxattrat getxattrat listxattrat removexattrat name_to_handle_at
    mount_setattr file_getattr file_setattr
path1 new: open creat memfd_create mq_open fsopen
path2 new: openat openat2 open_tree fspick open_tree_attr
new: open_by_handle_at socket eventfd eventfd2 epoll_create epoll_create1 timerfd_create inotify_init inotify_init1
    fanotify_init userfaultfd perf_event_open io_uring_setup pidfd_open
fd1 new: accept accept4 signalfd signalfd4 pidfd_getfd fsmount
pair1: pipe pipe2
pair4: socketpair
path1: stat lstat access readlink unlink rmdir mkdir mknod chmod chown lchown utime utimes truncate statfs chdir chroot
    execve uselib swapon swapoff acct umount2 setxattr lsetxattr getxattr lgetxattr listxattr llistxattr removexattr
    lremovexattr mq_unlink
path1 second2: rename link symlink mount pivot_root
fd1 path2 second4: renameat renameat2 linkat move_mount
fd2 path1 second3: symlinkat
fd1 path5: fanotify_mark
"""


@dataclass(frozen=True)
class Shape:
    """Which arguments (from 1, 0 is none) of a call are a descriptor, paths, a pair of new descriptors."""

    fd: int = 0
    path: int = 0
    second: int = 0
    pair: int = 0
    new: bool = False


def _shapes() -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for line in re.sub(r"\n +", " ", _SHAPES).strip().splitlines():
        head, _, names = line.partition(":")
        parts = {m[1]: int(m[2]) for m in re.finditer(r"([a-z]+)(\d)", head)}
        shape = Shape(new="new" in head.split(), **parts)
        shapes |= dict.fromkeys(names.split(), shape)
    return shapes


SHAPES = _shapes()
_NONE = Shape()
_OPENS = {"open", "creat", "openat", "openat2"}
_ADVANCES = {"read", "write", "readv", "writev"}  # by their result, where the position is known
_FTYPE = {b"pipe": 1, b"char": 2, b"socket": 12, b"TCP": 12, b"TCPv6": 12, b"UDP": 12, b"UDPv6": 12, b"NETLINK": 12}
_PASSED = re.compile(rb"cmsg_type=SCM_RIGHTS, cmsg_data=\[([^\]]*)\]")
_PAIR = re.compile(rb"(\d+)(<(?:->|[^<>]|<[^<>]*>)*>)?")


@dataclass(slots=True)
class Description:
    """One open file description. `offset` is null once something moved it by an amount the text does not say."""

    ofd: int
    path: bytes | None = None
    ftype: int | None = None
    offset: int | None = None
    appending: bool = False


@dataclass(slots=True)
class Descriptors:
    """A descriptor table: number -> (description, closed on exec)."""

    files: Files
    open: dict[int, tuple[Description, bool]] = field(default_factory=dict)

    @classmethod
    def standard(cls, files: Files) -> Descriptors:
        """The table of a process that was there before the log: 0, 1 and 2, and what its calls will show."""
        table = cls(files)
        for fd in range(3):
            table.open[fd] = (files.new(), False)
        return table

    def copy(self) -> Descriptors:
        return Descriptors(self.files, dict(self.open))

    def get(self, fd: int) -> Description:
        """The description of a number that a call succeeded on; one that was inherited gets its id now."""
        held = self.open.get(fd)
        if held is None:
            held = (self.files.new(), False)
            self.open[fd] = held
        return held[0]

    def put(self, fd: int, description: Description, cloexec: bool) -> None:
        self.open[fd] = (description, cloexec)

    def set_cloexec(self, fd: int, on: bool) -> None:
        self.open[fd] = (self.get(fd), on)

    def close_on_exec(self) -> None:
        self.open = {fd: held for fd, held in self.open.items() if not held[1]}


@dataclass(frozen=True, slots=True)
class Row:
    """What a call's row says of the description that its descriptor, or its result, names."""

    ofd: int | None = None
    ftype: int | None = None
    offset: int | None = None
    path: bytes | None = None


class Files:
    """Gives out the ids of descriptions, and follows each through the calls of every process."""

    def __init__(self) -> None:
        self.count = 0

    def new(self, path: bytes | None = None) -> Description:
        self.count += 1
        return Description(self.count, path)

    def call(self, name: str, args: list[bytes], ret: int | None, shown: bytes | None, table: Descriptors) -> Row:
        """Follow one call that has ended; `shown` is what -y printed behind its result."""
        shape = SHAPES.get(name, _NONE)
        done = ret is not None and ret >= 0
        cloexec = any(b"CLOEXEC" in arg for arg in args if arg[:1] != b'"')
        if shape.new and done and ret is not None:
            return self._opened(name, args, ret, shown, table, cloexec or name == "pidfd_open")
        if shape.pair and done:
            return self._pair(args[shape.pair - 1] if len(args) >= shape.pair else b"", table, cloexec)
        if name == "close_range" and done:
            self._close_range(args, table)
        if name == "recvmsg" and done:
            self._received(args, table, cloexec)
        if not shape.fd or len(args) < shape.fd:
            return Row()
        fd = number(args[shape.fd - 1])
        if fd is None or fd < 0 or (not done and ret != -11 and fd not in table.open):
            return Row()
        held = table.get(fd)
        named = annotation(args[shape.fd - 1])
        if named is not None and held.path is None:
            held.path, held.ftype = named, held.ftype if held.ftype is not None else _ftype_of(named)
        if done and ret is not None:
            self._follow(name, args, ret, fd, held, table)
        return Row(held.ofd, held.ftype, held.offset, None if shape.path and not _is_empty(args, shape) else held.path)

    def _opened(
        self, name: str, args: list[bytes], fd: int, shown: bytes | None, table: Descriptors, cloexec: bool
    ) -> Row:
        shape = SHAPES[name]
        named = unescape(shown) if shown is not None else None
        path = (path_of(args, shape.path) if shape.path else None) or named
        made = self.new(path)
        if named is not None:
            made.ftype = _ftype_of(named)
        elif name in ("socket", "accept", "accept4"):
            made.ftype = 12
        if name in _OPENS:
            made.offset = 0
            made.appending = any(b"O_APPEND" in arg for arg in args[shape.path :])
            if any(b"O_DIRECTORY" in arg for arg in args[shape.path :]):
                made.ftype = 4
        table.put(fd, made, cloexec)
        return Row(made.ofd, made.ftype, made.offset, path)

    def _pair(self, arg: bytes, table: Descriptors, cloexec: bool) -> Row:
        first = Row()
        for m in list(_PAIR.finditer(arg))[:2]:
            made = self.new(unescape(m[2][1:-1]) if m[2] else None)
            made.ftype = _ftype_of(made.path) if made.path else None
            table.put(int(m[1]), made, cloexec)
            first = first if first.ofd is not None else Row(made.ofd, made.ftype)
        return first

    def _received(self, args: list[bytes], table: Descriptors, cloexec: bool) -> None:
        for passed in _PASSED.finditer(b", ".join(args)):
            for m in _PAIR.finditer(passed[1]):
                table.put(int(m[1]), self.new(unescape(m[2][1:-1]) if m[2] else None), cloexec)

    def _close_range(self, args: list[bytes], table: Descriptors) -> None:
        first, last = number(args[0]), number(args[1])
        only_mark = len(args) > 2 and b"CLOEXEC" in args[2]
        for fd in [
            fd for fd in table.open if first is not None and fd >= first and (last is None or fd <= last % 2**32)
        ]:
            if only_mark:
                table.set_cloexec(fd, True)
            else:
                del table.open[fd]

    def _follow(self, name: str, args: list[bytes], ret: int, fd: int, held: Description, table: Descriptors) -> None:
        """What a call that succeeded did to its description, or to the table."""
        if name == "close":
            table.open.pop(fd, None)
        elif name == "dup" or (name in ("dup2", "dup3") and ret != fd):
            table.put(ret, held, name == "dup3" and any(b"O_CLOEXEC" in arg for arg in args[2:]))
        elif name == "fcntl" and len(args) > 1:
            _fcntl(args, ret, fd, held, table)
        elif name == "ioctl" and len(args) > 1 and args[1] in (b"FIOCLEX", b"FIONCLEX"):
            table.set_cloexec(fd, args[1] == b"FIOCLEX")
        elif name == "lseek":
            held.offset = ret
        elif name in _ADVANCES:
            held.offset = None if held.offset is None or (held.appending and name[0] == "w") else held.offset + ret
        elif name in ("sendfile", "copy_file_range", "splice"):
            _moved(name, args, ret, held, table)
        elif name in ("getdents", "getdents64"):
            held.offset = None


def path_of(args: list[bytes], at: int) -> bytes | None:
    """The path argument at place `at` (from 1), completed where -y shows the directory before it."""
    path = string(args[at - 1]) if 0 < at <= len(args) else None
    directory = annotation(args[at - 2]) if path and at > 1 and not path.startswith(b"/") else None
    return path if path is None or directory is None else directory.rstrip(b"/") + b"/" + path


def _fcntl(args: list[bytes], ret: int, fd: int, held: Description, table: Descriptors) -> None:
    if args[1] in (b"F_DUPFD", b"F_DUPFD_CLOEXEC"):
        table.put(ret, held, args[1] == b"F_DUPFD_CLOEXEC")
    elif args[1] == b"F_SETFD" and len(args) > 2:
        table.set_cloexec(fd, b"FD_CLOEXEC" in args[2])
    elif args[1] == b"F_SETFL" and len(args) > 2:
        held.appending = b"O_APPEND" in args[2]


def _moved(name: str, args: list[bytes], ret: int, held: Description, table: Descriptors) -> None:
    """A copy inside the kernel moves the positions for which it was given no offset of the caller's."""
    other = number(args[1] if name == "sendfile" else args[2]) if len(args) > 2 else None
    ends = [(held, None if name == "sendfile" else args[1])]
    if other is not None and other >= 0:
        ends.append((table.get(other), args[2] if name == "sendfile" else args[3] if len(args) > 3 else None))
    for description, given in ends:
        if given in (None, b"NULL") and description.offset is not None:
            description.offset += ret


def _is_empty(args: list[bytes], shape: Shape) -> bool:
    """fstat in the clothes of newfstatat: the path is empty, so the call is about the descriptor."""
    fd = number(args[shape.fd - 1])
    return len(args) >= shape.path and args[shape.path - 1] == b'""' and fd != AT_FDCWD


def _ftype_of(name: bytes) -> int | None:
    """The type of a file from what -y shows; of a path it says nothing, except that -yy marks devices."""
    if not name.startswith(b"/"):
        return 12 if name.startswith(b"UNIX") else _FTYPE.get(name.split(b":", 1)[0])
    if name.endswith(b">"):
        return 2 if b"<char " in name else 6 if b"<block " in name else None
    return None

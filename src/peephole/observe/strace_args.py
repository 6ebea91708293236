"""What stands between the parentheses of one strace line: splitting, numbers, strings, descriptors."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import re
import select
import signal
import socket
import time
from collections.abc import Iterable

#: what -y and -yy print behind a descriptor; `<` and `>` of a name are escaped, but `->` and `<char 1:3>` are not
ANNOTATION = rb"<(?:->|[^<>]|<[^<>]*>)*>"
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"(?:\.\.\.)?|<<|(?<=[0-9D])' + ANNOTATION + rb"|<\.\.\.[^<>]*>|[\[{(]|[\]})]|, ")
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"(\.\.\.)?')
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|([0-7]{1,3})|(.))", re.DOTALL)
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f", b"a": b"\a", b"b": b"\b", b"e": b"\x1b"}
_COMMENT = re.compile(rb" ?/\*.*?\*/")
_DESCRIPTOR = re.compile(rb"(-?\d+|AT_FDCWD)(" + ANNOTATION + rb")?(?:\(deleted\))?$")
_INTEGER = re.compile(rb"-?(?:0x[0-9a-f]+|0[0-7]*|[1-9][0-9]*)$")
AT_FDCWD = -100

_BY_HAND = {
    "O_LARGEFILE": 0o100000,  # glibc's own constant is 0 on x86-64, the kernel's is not
    "O_TMPFILE": 0o20200000,
    "AT_FDCWD": AT_FDCWD,
    "AT_SYMLINK_NOFOLLOW": 0x100,
    "AT_REMOVEDIR": 0x200,
    "AT_EACCESS": 0x200,
    "AT_SYMLINK_FOLLOW": 0x400,
    "AT_NO_AUTOMOUNT": 0x800,
    "AT_EMPTY_PATH": 0x1000,
    "AT_STATX_SYNC_AS_STAT": 0,
    "AT_STATX_FORCE_SYNC": 0x2000,
    "AT_STATX_DONT_SYNC": 0x4000,
    "FD_CLOEXEC": 1,
    "F_DUPFD_CLOEXEC": 1030,
    "CLOSE_RANGE_UNSHARE": 2,
    "CLOSE_RANGE_CLOEXEC": 4,
    "FICLONE": 0x40049409,
    "FICLONERANGE": 0x4020940D,
    "TCGETS": 0x5401,
    "FIONCLEX": 0x5450,
    "FIOCLEX": 0x5451,
    "TIOCGWINSZ": 0x5413,
    "FIONREAD": 0x541B,
    "MAP_FIXED": 0x10,
    "MAP_FIXED_NOREPLACE": 0x100000,
    "MAP_GROWSDOWN": 0x100,
    "MAP_LOCKED": 0x2000,
    "MAP_NONBLOCK": 0x10000,
    "MAP_HUGETLB": 0x40000,
    "MAP_SYNC": 0x80000,
    "MAP_SHARED_VALIDATE": 3,
    "PROT_NONE": 0,
    "FALLOC_FL_KEEP_SIZE": 1,
    "FALLOC_FL_PUNCH_HOLE": 2,
    "FALLOC_FL_COLLAPSE_RANGE": 8,
    "FALLOC_FL_ZERO_RANGE": 16,
    "POSIX_FADV_NORMAL": 0,
    "POSIX_FADV_RANDOM": 1,
    "POSIX_FADV_SEQUENTIAL": 2,
    "POSIX_FADV_WILLNEED": 3,
    "POSIX_FADV_DONTNEED": 4,
    "POSIX_FADV_NOREUSE": 5,
    "RENAME_NOREPLACE": 1,
    "RENAME_EXCHANGE": 2,
    "RENAME_WHITEOUT": 4,
    "CLONE_VM": 0x100,
    "CLONE_FS": 0x200,
    "CLONE_FILES": 0x400,
    "CLONE_SIGHAND": 0x800,
    "CLONE_PIDFD": 0x1000,
    "CLONE_PTRACE": 0x2000,
    "CLONE_VFORK": 0x4000,
    "CLONE_PARENT": 0x8000,
    "CLONE_THREAD": 0x10000,
    "CLONE_NEWNS": 0x20000,
    "CLONE_SYSVSEM": 0x40000,
    "CLONE_SETTLS": 0x80000,
    "CLONE_PARENT_SETTID": 0x100000,
    "CLONE_CHILD_CLEARTID": 0x200000,
    "CLONE_CHILD_SETTID": 0x1000000,
    "STATX_BASIC_STATS": 0x7FF,
    "STATX_ALL": 0xFFF,
    "STATX_TYPE": 1,
    "STATX_MODE": 2,
    "STATX_SIZE": 0x200,
    "STATX_BTIME": 0x800,
    "S_ISUID": 0o4000,
    "S_ISGID": 0o2000,
    "S_ISVTX": 0o1000,
    "S_IFSOCK": 0o140000,
    "S_IFLNK": 0o120000,
    "S_IFREG": 0o100000,
    "S_IFBLK": 0o60000,
    "S_IFDIR": 0o40000,
    "S_IFCHR": 0o20000,
    "S_IFIFO": 0o10000,
    "EPOLL_CTL_ADD": 1,
    "EPOLL_CTL_DEL": 2,
    "EPOLL_CTL_MOD": 3,
    "NULL": 0,
}
#: errors that only the kernel and a tracer see (include/linux/errno.h)
_ERRNOS = {
    **{name: number for number, name in errno.errorcode.items()},
    "EAGAIN": errno.EAGAIN,
    "ENOTSUP": errno.ENOTSUP,
    "EOPNOTSUPP": errno.EOPNOTSUPP,
    "EDEADLOCK": errno.EDEADLOCK,
    "ERESTARTSYS": 512,
    "ERESTARTNOINTR": 513,
    "ERESTARTNOHAND": 514,
    "ENOIOCTLCMD": 515,
    "ERESTART_RESTARTBLOCK": 516,
    "ENOTSUPP": 524,
}


def _symbols() -> dict[bytes, int]:
    found: dict[str, int] = {}
    wanted: Iterable[tuple[object, tuple[str, ...]]] = (
        (os, ("O_", "SEEK_", "R_OK", "W_OK", "X_OK", "F_OK", "GRND_", "EFD_", "RWF_", "SPLICE_F_")),
        (fcntl, ("F_", "LOCK_", "DN_")),
        (mmap, ("PROT_", "MAP_", "MADV_")),
        (socket, ("AF_", "SOCK_", "MSG_", "SOL_", "SO_", "IPPROTO_", "TCP_")),
        (signal, ("SIG",)),
        (select, ("EPOLL", "POLL")),
        (time, ("CLOCK_",)),
    )
    for module, prefixes in wanted:
        for name, value in vars(module).items():
            if name.startswith(prefixes) and isinstance(value, int):
                found[name] = int(value)
    found["SOCK_CLOEXEC"], found["SOCK_NONBLOCK"] = 0o2000000, 0o4000
    return {name.encode(): value for name, value in (found | _BY_HAND).items()}


SYMBOLS = _symbols()


def errno_of(name: str) -> int | None:
    """The number of an error as strace spells it, `ERRNO_524` included."""
    if name.startswith("ERRNO_"):
        return int(name[6:])
    return _ERRNOS.get(name)


def split(text: bytes) -> list[bytes]:
    """The arguments of a call. Raises ValueError when quotes or brackets do not close."""
    if not text:
        return []
    if b'"' not in text and b"{" not in text and b"[" not in text and b"(" not in text and b"<" not in text:
        return text.split(b", ")
    parts: list[bytes] = []
    depth, start = 0, 0
    for token in _TOKEN.finditer(text):
        word = token.group()
        if word in (b"[", b"{", b"("):
            depth += 1
        elif word in (b"]", b"}", b")"):
            depth -= 1
        elif word == b", " and depth == 0:
            parts.append(text[start : token.start()])
            start = token.end()
    parts.append(text[start:])
    if depth != 0 or any(map(_unclosed, parts)):
        raise ValueError("a bracket or a quote does not close")
    return parts


def _unclosed(part: bytes) -> bool:
    return part.startswith(b'"') and _QUOTED.match(part) is None


def unescape(text: bytes) -> bytes:
    """The bytes that strace's escapes stand for."""
    if b"\\" not in text:
        return text

    def byte(m: re.Match[bytes]) -> bytes:
        if m[1] is not None:
            return bytes([int(m[1], 16)])
        if m[2] is not None:
            return bytes([int(m[2], 8) & 0xFF])
        return _LETTERS.get(m[3], m[3])

    return _ESCAPE.sub(byte, text)


def string(arg: bytes) -> bytes | None:
    """A quoted argument; null when it is none, or was cut by -s."""
    m = _QUOTED.match(arg)
    return None if m is None or m[2] is not None else unescape(m[1])


def strings(arg: bytes) -> list[bytes]:
    """The quoted elements of `["a", "b"]`, cut ones as far as they go."""
    return [unescape(m[1]) for m in _QUOTED.finditer(arg)]


def number(arg: bytes) -> int | None:
    """An argument as the register held it: `O_RDWR|O_TRUNC`, `0644`, `3</x>`, `AT_FDCWD`, `64*1024`; null otherwise."""
    if _INTEGER.match(arg):
        return _literal(arg)
    if arg[:1] in (b'"', b"[", b"{", b"~", b""):
        return None
    if b"<" in arg:
        m = _DESCRIPTOR.match(arg)
        if m is not None:
            return AT_FDCWD if m[1] == b"AT_FDCWD" else int(m[1])
    if b" or " in arg:  # one number, two names: `BTRFS_IOC_CLONE or FICLONE`
        arg = arg.rpartition(b" or ")[2]
    if b"/*" in arg:
        arg = _COMMENT.sub(b"", arg)
    total = 0
    for term in arg.split(b"|"):
        value = _term(term.strip())
        if value is None:
            return None
        total |= value
    return signed(total)


def _term(term: bytes) -> int | None:
    if _INTEGER.match(term):
        return _literal(term)
    for sign in (b"<<", b"*"):
        if sign in term:
            left, _, right = term.partition(sign)
            a, b = _term(left), _term(right)
            if a is None or b is None or (sign == b"<<" and not 0 <= b < 64):
                return None
            return a << b if sign == b"<<" else a * b
    return SYMBOLS.get(term)


def _literal(text: bytes) -> int:
    if text[:2] == b"0x":
        return signed(int(text, 16))
    if len(text) > 1 and text[:1] == b"0":
        return int(text, 8)
    return signed(int(text))


def signed(value: int) -> int:
    """The register's 64 bits as a signed number."""
    value &= 0xFFFFFFFFFFFFFFFF
    return value - (1 << 64) if value >> 63 else value


def annotation(arg: bytes) -> bytes | None:
    """What -y or -yy printed behind a descriptor, unescaped: a path, or `pipe:[1]`, `TCP:[…]`."""
    m = _DESCRIPTOR.match(arg)
    return None if m is None or m[2] is None else unescape(m[2][1:-1])

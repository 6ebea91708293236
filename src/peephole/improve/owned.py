"""Which of our descriptors no other process uses: a command that inherits one may treat it as its own."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

_KCMP = 312
_KCMP_FILE = 0


def owned(fds: Sequence[int]) -> tuple[int, ...]:
    """Those of `fds` that stand at the beginning of a regular file open for writing, in a description that only this
    process has. What can't be known counts as used: without kcmp, or when an ancestor or a process of this session may
    not be looked into (sudo). Processes of other users elsewhere are taken not to have it."""
    mine = {fd: info for fd in fds if (info := _fresh_file(fd)) is not None}
    if not mine or _same_description(os.getpid(), os.getpid(), next(iter(mine)), next(iter(mine))) is None:
        return ()
    used: set[int] = set()
    for pid in _processes():
        try:
            entries = list(Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            if Path(f"/proc/{pid}").exists() and _near(pid):
                return ()
            continue
        for entry in entries:
            with contextlib.suppress(OSError):
                theirs = entry.stat()
                used |= {
                    fd
                    for fd, file in mine.items()
                    if (theirs.st_dev, theirs.st_ino) == file
                    and _same_description(os.getpid(), pid, fd, int(entry.name)) is not False
                }
    return tuple(fd for fd in mine if fd not in used)


def _fresh_file(fd: int) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        info = os.fstat(fd)
        writable = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        if stat.S_ISREG(info.st_mode) and writable and os.lseek(fd, 0, os.SEEK_CUR) == 0:
            return info.st_dev, info.st_ino
    return None


def _processes() -> Iterator[int]:
    """Every other process."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            yield int(entry.name)


def _same_description(one: int, other: int, fd: int, other_fd: int) -> bool | None:
    libc = ctypes.CDLL(None, use_errno=True)
    answer = libc.syscall(_KCMP, one, other, _KCMP_FILE, fd, other_fd)
    return None if answer < 0 else answer == 0


def _near(pid: int) -> bool:
    """Whether it is an ancestor of ours, or in our session."""
    with contextlib.suppress(OSError):
        if os.getsid(pid) == os.getsid(0):
            return True
    at = os.getppid()
    while at > 1:
        if at == pid:
            return True
        try:
            at = int(Path(f"/proc/{at}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return True
    return False

"""What a call is, the alphabet of them, and how the ideal kernel performs one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from peephole.errors import RuleError
from peephole.prove.model.machine import DESCRIPTIONS, Machine, Oracle
from peephole.prove.model.terms import Bool, Num, iff, ite, lt, not_, or_

EPERM, ENOENT, EINTR, EIO, EBADF, EAGAIN, EFAULT, EEXIST, EINVAL = 1, 2, 4, 5, 9, 11, 14, 17, 22
EMFILE, ENOTTY, ENOSPC, ESPIPE, ENODATA, EOPNOTSUPP = 24, 25, 28, 29, 61, 95
SEEK_SET, SEEK_CUR, SEEK_END = 0, 1, 2

#: What the proof does not look at: each one an assumption, printed and counted.
EXCLUDED = (
    "counts and offsets of 2^63 and more",
    "times, owner, mode and extended attributes as results of fstat and stat; st_blocks where the size is not 0",
    "a descriptor's number used before the open that made it has returned",
    "O_TMPFILE, O_DIRECT, O_ASYNC and leases",
    "file descriptors taken out of this process by another (pidfd_getfd, ptrace)",
    "memory of the program's buffer changed by another thread during the call",
    "files that this process mapped before its first call was seen",
    "exhaustion of memory, quotas and limits other than as ENOSPC, EIO or EINTR of a call",
    "fstat, lseek, F_SETFL, F_GETFD and F_SETFD on an open regular file do not fail",
    "what inotify, fanotify and /proc report",
    "another thread that looks at a name while a call on that name is under way",
    "threads that had different users when the program began, and an overflow id other than 65534",
    "a clock that is set back; change times, labels and access lists that change otherwise than by calls of the kernel",
    "symbolic links that lead to links, or that are opened or cut by their names",
    "readers of a pipe that came to its end through /proc, pidfd_getfd or a socket; bytes that change in a pipe",
)


@dataclass(frozen=True)
class Flags:
    """The flags of an open: each bit a truth value."""

    bits: dict[int, Bool]

    def of(self, mask: int) -> Flags:
        return Flags({b: v for b, v in self.bits.items() if b & mask})

    def any(self) -> Bool:
        return or_(*self.bits.values())

    def has(self, bit: int) -> Bool:
        return self.bits.get(bit, False)


@dataclass(frozen=True)
class Data:
    """Cells in the program's memory, of which the first `good` can be read."""

    cells: tuple[Num, ...]
    good: Num


@dataclass(frozen=True)
class Call:
    """One call: its name, the slots of the descriptions that its descriptors name, and its other words."""

    name: str
    slot: int = -1
    other: int = -1
    words: dict[str, Any] = field(default_factory=dict)
    by: str = "us"  # us: our process; other: another process; memory: no call at all

    def __getitem__(self, word: str) -> Any:
        return self.words[word]


WRONLY, RDWR, CREAT, EXCL, TRUNC, APPEND, DSYNC, SYNC, PATH, CLOEXEC = (
    0o1, 0o2, 0o100, 0o200, 0o1000, 0o2000, 0o10000, 0o4000000, 0o10000000, 0o2000000,
)  # fmt: skip
NOFOLLOW = 0x100  # AT_SYMLINK_NOFOLLOW, of statx
OPEN_BITS = (WRONLY, RDWR, CREAT, EXCL, TRUNC, APPEND, DSYNC, SYNC, PATH, CLOEXEC)

Function = Callable[[Machine, Call, Oracle], Num]
CALLS: dict[str, Function] = {}


def kernel_call(*names: str) -> Callable[[Function], Function]:
    """Puts a function into the alphabet under these calls' names."""

    def keep(function: Function) -> Function:
        CALLS.update({name: function for name in names})
        return function

    return keep


def perform(m: Machine, call: Call, oracle: Oracle) -> Num:
    """What the kernel does for this call. Raises RuleError when the model lacks it."""
    if call.name not in CALLS:
        raise RuleError(f"the model has no call {call.name}")
    if call.slot < 0 or call.by != "us":
        made = m.new_slot
        if m.log is not None and made is None:
            made = next((d for d in range(DESCRIPTIONS) if m.is_open(d) is False), -1)
        r = CALLS[call.name](m, call, oracle)
        m.note(call, -1 if made is None else made, r)
        return r
    is_open = m.is_open(call.slot)
    with m.under(is_open):
        r = CALLS[call.name](m, call, oracle)
        if "i0.read" in m.state and call.name in ("read", "pread64"):
            with m.under(lt(0, r)):
                m.set_file(call.slot, "read", True)
    # A negative size is refused before the descriptor is looked at.
    closed = ite(lt(call["n"], 0), -EINVAL, -EBADF) if call.name == "ftruncate" else -EBADF
    r = ite(is_open, r, closed)
    m.note(call, -1, r)
    return r  # type: ignore[no-any-return]


def first_error(*cases: tuple[Bool, Num]) -> tuple[Num, Bool]:
    """The first error whose condition holds, or 0; and whether none does."""
    r: Num = 0
    for condition, error in reversed(cases):
        r = ite(condition, error, r)
    return r, not_(or_(*[c for c, _ in cases]))


def writable(flags: Flags) -> Bool:
    """Whether open's flags ask for writing."""
    return not_(iff(flags.has(WRONLY), flags.has(RDWR)))

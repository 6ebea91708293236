"""Every name that a rule's text may use, and what it stands for.

Rules import from here, so that editors and linters know the names; nothing here is ever called. The compiler reads
`NUMBERS` and `MECHANISMS`. Constants are those of the system-call interface of x86-64.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Number:
    """A constant: its value in the kernel's interface, and the small one that stands for it in the prover's model."""

    value: int
    kind: str  # flag | errno | number
    model: int


@dataclass(frozen=True)
class Mechanism:
    """A named mechanism of the runtime: its C function, its arguments' types and whether it may call the kernel."""

    c: str
    takes: tuple[str, ...]
    gives: str  # num | bool | state | none
    calls_kernel: bool
    needs_k: bool = True


_FLAGS = {
    "O_WRONLY": 0o1,
    "O_RDWR": 0o2,
    "O_CREAT": 0o100,
    "O_EXCL": 0o200,
    "O_TRUNC": 0o1000,
    "O_APPEND": 0o2000,
    "O_DSYNC": 0o10000,
    "O_DIRECT": 0o40000,
    "O_SYNC": 0o4000000,  # the bit that O_SYNC has beyond O_DSYNC
    "O_PATH": 0o10000000,
    "O_TMPFILE": 0o20000000,  # the bit that O_TMPFILE has beyond O_DIRECTORY
    "AT_SYMLINK_NOFOLLOW": 0x100,  # of statx
    "O_CLOEXEC": 0o2000000,
}
_ERRNOS = {
    "ENOENT": 2,
    "EINTR": 4,
    "EIO": 5,
    "EBADF": 9,
    "EAGAIN": 11,
    "EFAULT": 14,
    "EEXIST": 17,
    "EINVAL": 22,
    "ENOTTY": 25,
    "ENOSPC": 28,
    "ENODATA": 61,
    "EOPNOTSUPP": 95,
    "ESPIPE": 29,
}
#: name -> (value, value in the model); equal where they are small
_NUMBERS = {
    "SEEK_SET": (0, 0),
    "SEEK_CUR": (1, 1),
    "SEEK_END": (2, 2),
    "F_GETFD": (1, 1),
    "F_SETFD": (2, 2),
    "F_GETFL": (3, 3),
    "F_SETFL": (4, 4),
    "TCGETS": (0x5401, 20),
    "FICLONE": (0x40049409, 21),
    "OVERFLOW_ID": (65534, 90),  # of users that a user namespace does not map (yet)
    "EPOLL_CTL_ADD": (1, 1),
    "EPOLL_CTL_DEL": (2, 2),
    "EPOLL_CTL_MOD": (3, 3),
    "ACT_HANDLER": (0, 0),
    "ACT_FLAGS": (1, 1),
    "ACT_RESTORER": (2, 2),
    "ACT_MASK": (3, 3),
    "FD_CLOEXEC": (1, 1),
    "SA_RESETHAND": (0x80000000, 4),  # the highest of an action's flags: with it they are at least that
}
NUMBERS: dict[str, Number] = (
    {n: Number(v, "flag", v) for n, v in _FLAGS.items()}
    | {n: Number(v, "errno", v) for n, v in _ERRNOS.items()}
    | {n: Number(v, "number", m) for n, (v, m) in _NUMBERS.items()}
)

#: `k.NAME(...)`, or `NAME(...)` for the two that need no kernel; docs/rule-language.md says what each one means.
MECHANISMS: dict[str, Mechanism] = {
    "ok": Mechanism("ph_ok", ("num",), "bool", False, needs_k=False),
    "writable": Mechanism("ph_writable", ("flags",), "bool", False, needs_k=False),
    "forward": Mechanism("ph_forward", (), "num", True),
    "openat": Mechanism("ph_k_openat", ("fd", "path", "flags", "num"), "num", True),
    "close": Mechanism("ph_k_close", ("fd",), "num", True),
    "ftruncate": Mechanism("ph_k_ftruncate", ("fd", "num"), "num", True),
    "lseek": Mechanism("ph_k_lseek", ("fd", "num", "num"), "num", True),
    "setfl": Mechanism("ph_k_setfl", ("fd", "flags"), "num", True),
    "setfd": Mechanism("ph_k_setfd", ("fd", "num"), "num", True),
    "single": Mechanism("ph_single", (), "bool", False),
    "settle": Mechanism("ph_settle", ("fd",), "num", True),
    "settle_all": Mechanism("ph_settle_all", (), "num", True),
    "file": Mechanism("ph_file", ("fd",), "state", False),
    "release": Mechanism("ph_release", ("fd",), "none", True),
    "regular": Mechanism("ph_regular", ("fd",), "bool", False),
    "private": Mechanism("ph_private", ("fd",), "bool", False),
    "alone": Mechanism("ph_alone", ("fd",), "bool", False),
    "clones": Mechanism("ph_clones", ("fd",), "num", True),
    "size": Mechanism("ph_size", ("fd",), "num", True),
    "position": Mechanism("ph_position", ("fd",), "num", True),
    "unopened": Mechanism("ph_unopened", ("fd",), "num", True),
    "length": Mechanism("ph_buffer_len", ("state",), "num", False, needs_k=False),
    "room": Mechanism("ph_buffer_room", ("state",), "num", False),
    "append": Mechanism("ph_buffer_append", ("state", "buf", "num"), "num", False),
    "total": Mechanism("ph_vector_total", ("buf", "num"), "num", False),
    "append_vector": Mechanism("ph_buffer_append_vector", ("state", "buf", "num"), "num", False),
    "clear": Mechanism("ph_buffer_clear", ("state",), "none", False, needs_k=False),
    "write_all": Mechanism("ph_k_write_all", ("fd", "state", "num"), "num", True),
    "pwrite_all": Mechanism("ph_k_pwrite_all", ("fd", "state", "num", "num"), "num", True),
    "fill": Mechanism("ph_k_fill", ("fd", "state", "num"), "num", True),
    "take": Mechanism("ph_buffer_give", ("state", "buf", "num", "num"), "num", False),
    "copy_mapped": Mechanism("ph_copy_mapped", ("fd", "buf", "num", "num"), "num", False),
    "fsync": Mechanism("ph_k_fsync", ("fd",), "num", True),
    "fdatasync": Mechanism("ph_k_fdatasync", ("fd",), "num", True),
    "sync_age": Mechanism("ph_sync_age", ("fd",), "num", False),
    "owe": Mechanism("ph_owe", ("fd", "num"), "num", False),
    "now": Mechanism("ph_now_ms", (), "num", False),
    "absent": Mechanism("ph_absent", ("fd", "path"), "num", True),
    "examined": Mechanism("ph_examined", ("fd", "path", "buf", "num"), "num", False),
    "look": Mechanism("ph_look", ("fd", "path"), "num", False),
    "looked": Mechanism("ph_looked", ("num", "path", "buf"), "none", False),
    "seen": Mechanism("ph_seen", ("path",), "num", False),
    "seen_file": Mechanism("ph_seen_file", ("num",), "num", False),
    "seen_link": Mechanism("ph_seen_link", ("num",), "bool", False),
    "seen_time": Mechanism("ph_seen_time", ("num",), "num", False),
    "attribute": Mechanism("ph_attribute", ("path",), "num", False),
    "age": Mechanism("ph_age", ("num",), "num", False),
    "lacks": Mechanism("ph_lacks", ("num", "num", "num"), "none", False),
    "lacked": Mechanism("ph_lacked", ("num", "num", "num"), "num", False),
    "replaceable": Mechanism("ph_replaceable", ("fd", "path", "fd", "path"), "bool", True),
    "exchange": Mechanism("ph_k_exchange", ("fd", "path", "fd", "path"), "num", True),
    "unlinkat": Mechanism("ph_k_unlinkat", ("fd", "path"), "num", True),
    "roomy": Mechanism("ph_roomy", ("fd",), "num", True),
    "receive": Mechanism("ph_k_receive", ("fd", "buf", "num"), "num", True),
    "ready": Mechanism("ph_k_ready", ("fd", "buf", "num"), "num", True),
    "send_all": Mechanism("ph_k_send_all", ("fd", "state", "num"), "num", True),
    "send_more": Mechanism("ph_k_send_more", ("fd", "state", "num"), "num", True),
    "push": Mechanism("ph_k_push", ("fd",), "none", True),
    "cost": Mechanism("ph_cost", ("num",), "num", False),
    "watchable": Mechanism("ph_watchable", ("num",), "bool", False),
    "level": Mechanism("ph_level", ("buf",), "num", False),
    "tag": Mechanism("ph_tag", ("buf",), "num", False),
    "asks_out": Mechanism("ph_asks_out", ("num",), "bool", False, needs_k=False),
    "watch": Mechanism("ph_k_watch", ("num", "num", "fd", "num", "num"), "num", True),
    "known": Mechanism("ph_known", ("num", "buf", "num"), "num", True),
    "peek": Mechanism("ph_k_peek", ("fd", "state"), "num", True),
    "consume": Mechanism("ph_k_consume", ("fd", "num"), "num", True),
    "action": Mechanism("ph_action_part", ("buf", "num"), "num", False),
    "recalled": Mechanism("ph_action_recalled", ("num", "num"), "num", False),
    "discards": Mechanism("ph_action_discards", ("num", "num"), "bool", False, needs_k=False),
    "unsure": Mechanism("ph_action_unsure", ("num",), "none", False),
    "remember": Mechanism("ph_action_remember", ("num", "num", "num", "num", "num"), "none", False),
    "give_action": Mechanism("ph_action_give", ("buf", "num", "num", "num", "num"), "num", False),
    "stat_set_size": Mechanism("ph_stat_set_size", ("buf", "num"), "num", False),
    "in_a_row": Mechanism("ph_in_a_row", ("buf",), "num", False),
    "nap": Mechanism("ph_nap", ("buf", "num"), "num", True),
    "hit": Mechanism("ph_hit", (), "none", False),
    # Of the model only, for neighbours that must be refuted: a rule that uses one has no C.
    "map_write": Mechanism("", ("fd", "buf", "num", "bool"), "num", True),
    "remember_for_all": Mechanism("", ("num", "num", "num", "num", "num"), "none", False),
}

#: What a rule may keep or give up; docs/guarantees.md says what each one means.
GUARANTEES = (
    "contents",
    "results",
    "survival",
    "error-timing",
    "freshness",
    "visibility",
    "atomicity",
    "append-atomicity",
    "ordering",
    "durability",
    "crash",
    "identity",
    "timestamps",
    "locking",
    "resources",
    "timing",
)
#: What a crash may leave behind, from the strongest promise to the weakest.
PROFILES = ("sequential", "ext4-ordered", "weak")


O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND = (_FLAGS[n] for n in list(_FLAGS)[:6])
O_DSYNC, O_DIRECT, O_SYNC, O_PATH, O_TMPFILE, AT_SYMLINK_NOFOLLOW, O_CLOEXEC = (_FLAGS[n] for n in list(_FLAGS)[6:])
ENOENT, EINTR, EIO, EBADF, EAGAIN, EFAULT, EEXIST, EINVAL, ENOTTY, ENOSPC, ENODATA, EOPNOTSUPP, ESPIPE = (
    _ERRNOS.values()
)
SEEK_SET, SEEK_CUR, SEEK_END, F_GETFD, F_SETFD, F_GETFL, F_SETFL, TCGETS, FICLONE = [v for v, _ in _NUMBERS.values()][
    :9
]
OVERFLOW_ID, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, FD_CLOEXEC = 65534, 1, 2, 3, 1
ACT_HANDLER, ACT_FLAGS, ACT_RESTORER, ACT_MASK, SA_RESETHAND = 0, 1, 2, 3, 0x80000000

SURVIVAL, ERROR_TIMING, FRESHNESS, VISIBILITY, ATOMICITY, APPEND_ATOMICITY, ORDERING = GUARANTEES[2:9]
DURABILITY, CRASH, IDENTITY, TIMESTAMPS, LOCKING, RESOURCES, TIMING = GUARANTEES[9:]
SEQUENTIAL, EXT4_ORDERED, WEAK = PROFILES


class Rule:
    """The base of a rule's class."""


class PerOpenFile:
    """The base of the class that holds a rule's state: one for each open file description."""


class PerPlace:
    """The base of a state of one open file description, of which only where it stands in its file is ever pending.

    Nobody else can tell that, so that it stays pending while others are talked to, and needs no making good at the end.
    """


class PerStream:
    """The base of the class that holds a rule's state: one for each stream socket that the process accepted."""


class PerInterest:
    """The base of a state of one TCP socket's place in the interest list of an epoll.

    What it has pending, only waits on that epoll could tell.
    """


class PerPipe:
    """The base of the class that holds a rule's state: one for each pipe that the process alone reads."""


class PerProcess:
    """The base of the class that holds a rule's state of the whole process: all zero in a new one, and after fork."""


num = int  # a signed 64-bit number
word = int  # a 32-bit argument: what lies above is not looked at by the kernel
fd = int  # a descriptor
flags = int  # flags of open
path = int  # the address of a path in the program's memory
buf = int  # an address in the program's memory
result = int  # a count, or -errno
buffer: dict[int, type] = {}  # `buffer[N]`: N bytes that the runtime keeps for each state


def ok(r: int) -> bool:
    """Whether a result is not an error."""
    return r >= 0


def writable(flags: int) -> bool:
    """Whether open's flags ask for writing."""
    return flags & 3 in (1, 2)

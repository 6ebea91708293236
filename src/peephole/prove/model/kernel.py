"""The ideal kernel: each call a plain function over the machine's state.

`CALLS` is the alphabet. A function gets the machine, the call's words and what the kernel chose (an Oracle), changes
the state under the machine's guard and gives the result: a count, or -errno. A call that is not here is an error,
never a no-op. What is left out of the alphabet is listed in EXCLUDED and printed with every proof.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from peephole.errors import RuleError
from peephole.prove.model.machine import CELLS, CHUNK, DESCRIPTIONS, INODES, NAMES, Machine, Oracle
from peephole.prove.model.terms import Bool, Num, add, and_, eq, iff, ite, le, least, lt, most, not_, or_, sub

EPERM, ENOENT, EINTR, EIO, EBADF, EAGAIN, EFAULT, EEXIST, EINVAL = 1, 2, 4, 5, 9, 11, 14, 17, 22
EMFILE, ENOTTY, ENOSPC, ESPIPE, EOPNOTSUPP = 24, 25, 28, 29, 95
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
    "fstat, lseek and F_SETFL on an open regular file do not fail",
    "what inotify, fanotify and /proc report",
    "another thread that looks at a name while a call on that name is under way",
    "threads that had different users when the program began, and an overflow id other than 65534",
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


WRONLY, RDWR, CREAT, EXCL, TRUNC, APPEND, DSYNC, SYNC, PATH = (
    0o1, 0o2, 0o100, 0o200, 0o1000, 0o2000, 0o10000, 0o4000000, 0o10000000,
)  # fmt: skip
OPEN_BITS = (WRONLY, RDWR, CREAT, EXCL, TRUNC, APPEND, DSYNC, SYNC, PATH)

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
        return CALLS[call.name](m, call, oracle)
    is_open = m.is_open(call.slot)
    with m.under(is_open):
        r = CALLS[call.name](m, call, oracle)
    # A negative size is refused before the descriptor is looked at.
    closed = ite(lt(call["n"], 0), -EINVAL, -EBADF) if call.name == "ftruncate" else -EBADF
    return ite(is_open, r, closed)  # type: ignore[no-any-return]


def _first(*cases: tuple[Bool, Num]) -> tuple[Num, Bool]:
    """The first error whose condition holds, or 0; and whether none does."""
    r: Num = 0
    for condition, error in reversed(cases):
        r = ite(condition, error, r)
    return r, not_(or_(*[c for c, _ in cases]))


# -- data ------------------------------------------------------------------------------------------------------


def cell_at(m: Machine, slot: int, at: Num) -> Num:
    """The cell of a description's file at a place; 0 beyond the end."""
    value: Num = 0
    if isinstance(at, int):
        return m.of_file(slot, f"c{at}") if 0 <= at < CELLS else 0
    for k in range(CELLS):
        value = ite(eq(at, k), m.of_file(slot, f"c{k}"), value)
    return value


def put(m: Machine, slot: int, at: Num, cells: tuple[Num, ...], count: Num) -> None:
    """Write cells one after another: a crash may come between any two."""
    m.leave(lt(CELLS, add(at, count)))
    for k, cell in enumerate(cells):
        with m.under(lt(k, count)) as some:
            if some is False:
                continue
            place = add(at, k)
            for i in range(INODES):
                with m.under(m.is_file(slot, i)) as here:
                    if here is False:
                        continue
                    for c in range(CELLS):
                        with m.under(eq(place, c)):
                            m.set(f"i{i}.c{c}", cell)
                    m.set(f"i{i}.size", least(most(m.state[f"i{i}.size"], add(place, 1)), CELLS))
                    with m.under(not_(m.state.get(f"i{i}.stream", False))):  # a socket has no times
                        m.touch(i)
            m.snapshot()


def _store(m: Machine, call: Call, oracle: Oracle, at: Num, advance: bool) -> Num:
    slot, n, data = call.slot, call["n"], call["data"]
    special = m.of_file(slot, "special")
    error, fine = _first(
        (not_(m.d(slot, "wr")), -EBADF),
        (and_(lt(0, n), eq(data.good, 0)), -EFAULT),
        (and_(lt(0, n), not_(eq(oracle.fail, 0))), oracle.fail),
    )
    count = least(least(n, data.good), oracle.short)
    stream = m.is_stream(slot)
    with m.under(and_(fine, or_(not_(special), stream))):
        put(m, slot, ite(stream, m.of_file(slot, "size"), at), data.cells, count)
        if advance:
            moves = and_(lt(0, count), not_(stream))
            m.set_d(slot, "pos", ite(moves, add(at, count), m.d(slot, "pos")))
    return ite(fine, count, error)  # type: ignore[no-any-return]


@kernel_call("write", "writev")
def write(m: Machine, call: Call, oracle: Oracle) -> Num:
    at = ite(m.d(call.slot, "app"), m.of_file(call.slot, "size"), m.d(call.slot, "pos"))
    return _store(m, call, oracle, at, advance=True)


@kernel_call("pwrite64")
def pwrite(m: Machine, call: Call, oracle: Oracle) -> Num:
    # With O_APPEND the offset is not looked at: pwrite(2), BUGS.
    special = m.of_file(call.slot, "special")
    at = ite(m.d(call.slot, "app"), m.of_file(call.slot, "size"), call["offset"])
    with m.under(not_(special)):
        r = _store(m, call, oracle, at, advance=False)
    return ite(special, -ESPIPE, r)  # type: ignore[no-any-return]


def _load(m: Machine, call: Call, oracle: Oracle, at: Num, advance: bool) -> Num:
    slot, n, good = call.slot, call["n"], call["good"]
    special = m.of_file(slot, "special")
    left = most(sub(m.of_file(slot, "size"), at), 0)
    wanted = least(n, ite(special, n, left))
    error, fine = _first(
        (not_(m.d(slot, "rd")), -EBADF),
        (not_(eq(oracle.fail, 0)), oracle.fail),
        (and_(lt(0, wanted), eq(good, 0)), -EFAULT),
    )
    count = least(least(wanted, good), oracle.short)
    with m.under(and_(fine, not_(special))):
        for k in range(CHUNK):
            with m.under(lt(k, count)):
                m.emit(f"byte{k}", cell_at(m, slot, add(at, k)))
        if advance:
            m.set_d(slot, "pos", add(at, count))
    return ite(fine, count, error)  # type: ignore[no-any-return]


@kernel_call("read")
def read(m: Machine, call: Call, oracle: Oracle) -> Num:
    return _load(m, call, oracle, m.d(call.slot, "pos"), advance=True)


@kernel_call("pread64")
def pread(m: Machine, call: Call, oracle: Oracle) -> Num:
    return _load(m, call, oracle, call["offset"], advance=False)


def cut(m: Machine, slot: int, size: Num) -> None:
    """Set the size of a description's file: cells beyond become 0."""
    for i in range(INODES):
        with m.under(m.is_file(slot, i)):
            for c in range(CELLS):
                with m.under(le(size, c)):
                    m.set(f"i{i}.c{c}", 0)
            m.set(f"i{i}.size", size)
            m.touch(i)
    m.leave(lt(CELLS, size))
    m.snapshot()


@kernel_call("ftruncate")
def ftruncate(m: Machine, call: Call, oracle: Oracle) -> Num:
    slot, n = call.slot, call["n"]
    error, fine = _first(
        (lt(n, 0), -EINVAL),
        (or_(not_(m.d(slot, "wr")), m.of_file(slot, "special")), -EINVAL),
        (not_(eq(oracle.fail, 0)), oracle.fail),
    )
    with m.under(fine):
        cut(m, slot, n)
    return error


@kernel_call("copy_file_range")
def copy_file_range(m: Machine, call: Call, oracle: Oracle) -> Num:
    """From `other` at its position to `slot`, at its position or at a given offset."""
    out, source, n = call.slot, call.other, call["n"]
    same = eq(m.d(out, "ino"), m.d(source, "ino"))
    odd = or_(m.of_file(out, "special"), m.of_file(source, "special"))
    error, fine = _first(
        (not_(m.is_open(source)), -EBADF),
        (or_(not_(m.d(source, "rd")), not_(m.d(out, "wr")), m.d(out, "app")), -EBADF),
        (or_(odd, same), -EINVAL),
        (not_(eq(oracle.fail, 0)), oracle.fail),
    )
    start = m.d(source, "pos")
    at = ite(call["placed"], call["offset"], m.d(out, "pos"))
    count = least(least(n, most(sub(m.of_file(source, "size"), start), 0)), oracle.short)
    cells = tuple(cell_at(m, source, add(start, k)) for k in range(CHUNK))
    with m.under(fine):
        put(m, out, at, cells, count)
        with m.under(lt(0, count)):
            m.set_d(source, "pos", add(start, count))
            with m.under(not_(call["placed"])):
                m.set_d(out, "pos", add(at, count))
    return ite(fine, count, error)  # type: ignore[no-any-return]


# -- descriptions ----------------------------------------------------------------------------------------------


@kernel_call("lseek")
def lseek(m: Machine, call: Call, oracle: Oracle) -> Num:
    slot, whence = call.slot, call["whence"]
    size = m.of_file(slot, "size")
    base = ite(eq(whence, SEEK_SET), 0, ite(eq(whence, SEEK_CUR), m.d(slot, "pos"), size))
    to = add(base, call["offset"])
    error, fine = _first(
        (m.d(slot, "path"), -EBADF),
        (m.of_file(slot, "special"), -ESPIPE),
        (or_(lt(whence, 0), lt(2, whence)), -EINVAL),
        (lt(to, 0), -EINVAL),
    )
    with m.under(fine):
        m.leave(lt(CELLS, to))
        m.set_d(slot, "pos", to)
    return ite(fine, to, error)  # type: ignore[no-any-return]


def links(m: Machine, slot: int) -> Num:
    count: Num = 0
    for j in range(NAMES):
        count = add(count, ite(eq(m.state[f"n{j}"], m.d(slot, "ino")), 1, 0))
    return count


@kernel_call("fstat")
def fstat(m: Machine, call: Call, oracle: Oracle) -> Num:
    m.emit("size", m.of_file(call.slot, "size"))
    m.emit("ino", m.d(call.slot, "ino"))
    m.emit("links", links(m, call.slot))
    return 0


@kernel_call("fsync", "fdatasync")
def fsync(m: Machine, call: Call, oracle: Oracle) -> Num:
    error, fine = _first(
        (m.d(call.slot, "path"), -EBADF),
        (m.of_file(call.slot, "special"), -EINVAL),
        (not_(eq(oracle.fail, 0)), oracle.fail),
    )
    with m.under(fine):
        m.set_file(call.slot, "dirty", False)
    return error


F_GETFD, F_SETFD, F_GETFL, F_SETFL = 1, 2, 3, 4


@kernel_call("fcntl")
def fcntl(m: Machine, call: Call, oracle: Oracle) -> Num:
    slot, command = call.slot, call["command"]
    with m.under(eq(command, F_SETFL)):
        m.set_d(slot, "app", call["append"])
    known = ite(eq(command, F_GETFL), status_flags(m.state, slot), 0)
    return ite(and_(le(1, command), le(command, 4)), known, -EINVAL)  # type: ignore[no-any-return]


def status_flags(state: dict[str, Any], slot: int) -> Num:
    """What F_GETFL says: the access mode, 4 for O_APPEND, 8 for O_SYNC or O_DSYNC."""
    mode = ite(state[f"d{slot}.wr"], ite(state[f"d{slot}.rd"], 2, 1), 0)
    return add(mode, add(ite(state[f"d{slot}.app"], 4, 0), ite(state[f"d{slot}.sync"], 8, 0)))


TCGETS, FICLONE = 20, 21


@kernel_call("ioctl")
def ioctl(m: Machine, call: Call, oracle: Oracle) -> Num:
    slot, source, request = call.slot, call.other, call["request"]
    out = slot
    size = m.of_file(source, "size")
    error, fine = _first(
        (m.d(slot, "path"), -EBADF),
        (not_(eq(request, FICLONE)), -ENOTTY),
        (not_(m.is_open(source)), -EBADF),
        (or_(not_(m.d(source, "rd")), not_(m.d(out, "wr")), m.d(out, "app")), -EBADF),
        (not_(m.state["reflink"]), -EOPNOTSUPP),
        (or_(m.of_file(out, "special"), m.of_file(source, "special")), -EINVAL),
        (and_(eq(m.d(out, "ino"), m.d(source, "ino")), lt(0, size)), -EINVAL),
        (not_(eq(oracle.fail, 0)), oracle.fail),
    )
    with m.under(and_(fine, lt(0, size))):
        for k in range(CELLS):
            m.set_file(out, f"c{k}", ite(lt(k, size), cell_at(m, source, k), m.of_file(out, f"c{k}")))
        m.set_file(out, "size", most(size, m.of_file(out, "size")))
        m.set_file(out, "touched", True)
        m.set_file(out, "dirty", True)
        m.snapshot()
    return error


@kernel_call("flock")
def flock(m: Machine, call: Call, oracle: Oracle) -> Num:
    with m.under(eq(oracle.fail, 0)):
        m.set_d(call.slot, "lock", call["lock"])
    return oracle.fail


@kernel_call("dup")
def dup(m: Machine, call: Call, oracle: Oracle) -> Num:
    room = lt(m.d(call.slot, "refs"), 2)
    with m.under(room):
        m.set_d(call.slot, "refs", add(m.d(call.slot, "refs"), 1))
    return ite(room, 0, -EMFILE)  # type: ignore[no-any-return]


@kernel_call("dup2")
def dup2(m: Machine, call: Call, oracle: Oracle) -> Num:
    """A descriptor of `other` becomes one of `slot`."""
    room = and_(lt(m.d(call.slot, "refs"), 2), m.is_open(call.other))
    with m.under(room):
        m.set_d(call.other, "refs", sub(m.d(call.other, "refs"), 1))
        m.set_d(call.slot, "refs", add(m.d(call.slot, "refs"), 1))
    return ite(room, 0, -EMFILE)  # type: ignore[no-any-return]


@kernel_call("close")
def close(m: Machine, call: Call, oracle: Oracle) -> Num:
    m.set_d(call.slot, "refs", sub(m.d(call.slot, "refs"), 1))
    # Locks die with the last descriptor that our process, or one that shares it, has.
    return 0


@kernel_call("mmap")
def mmap(m: Machine, call: Call, oracle: Oracle) -> Num:
    fine = and_(m.d(call.slot, "rd"), not_(m.of_file(call.slot, "special")), eq(oracle.fail, 0))
    with m.under(fine):
        m.set_file(call.slot, "mapped", True)
    return ite(fine, 0, -EINVAL)  # type: ignore[no-any-return]


@kernel_call("opaque")
def opaque(m: Machine, call: Call, oracle: Oracle) -> Num:
    """Any call of class FD that the model does not spell out: it sees and may change its description and file."""
    slot = call.slot
    for name in ("ino", "pos", "rd", "wr", "app", "sync", "lock"):
        m.emit(f"saw.{name}", m.d(slot, name))
    for name in ("size", *[f"c{k}" for k in range(CELLS)]):
        m.emit(f"saw.{name}", m.of_file(slot, name))
    with m.under(and_(m.d(slot, "wr"), not_(m.of_file(slot, "special")), eq(oracle.fail, 0))):
        put(m, slot, call["offset"], call["data"].cells, call["n"])
        m.set_d(slot, "pos", call["offset"])
    return oracle.fail


# -- names ------------------------------------------------------------------------------------------------------


def free_inode(m: Machine, i: Num) -> Bool:
    """Whether this inode has no name, no descriptor and no mapping of ours."""
    used: list[Bool] = [eq(m.state[f"n{j}"], i) for j in range(NAMES)]
    used += [and_(m.is_open(d), eq(m.d(d, "ino"), i)) for d in range(DESCRIPTIONS)]
    used += [and_(eq(i, k), m.state[f"i{k}.mapped"]) for k in range(INODES)]
    return not_(or_(*used))


def make_inode(m: Machine, i: Num, name: int) -> None:
    for k in range(INODES):
        with m.under(eq(i, k)):
            m.set(f"i{k}.size", 0)
            for c in range(CELLS):
                m.set(f"i{k}.c{c}", 0)
            m.set(f"i{k}.special", False)
            if f"i{k}.stream" in m.state:
                m.set(f"i{k}.stream", False)
            m.touch(k)
    m.set(f"n{name}", i)
    m.snapshot()


def new_slot(m: Machine) -> int:
    """The slot of the next open: fixed by symmetry in proofs, the first free one with plain values; -1: none."""
    if m.new_slot is not None:
        return m.new_slot
    free = [d for d in range(DESCRIPTIONS) if m.is_open(d) is False]
    return free[0] if free else -1


@kernel_call("openat")
def openat(m: Machine, call: Call, oracle: Oracle) -> Num:
    flags: Flags = call["flags"]
    slot, j = new_slot(m), call["name"]
    if slot < 0:
        return -EMFILE
    ino = m.state[f"n{j}"]
    exists, is_path = le(0, ino), flags.has(PATH)
    creates = and_(flags.has(CREAT), not_(is_path))
    error, fine = _first(
        (m.is_open(slot), -EMFILE),
        (and_(not_(exists), not_(creates)), -ENOENT),
        (and_(exists, creates, flags.has(EXCL)), -EEXIST),
        (not_(eq(oracle.fail, 0)), oracle.fail),
        (and_(not_(exists), not_(free_inode(m, oracle.fresh))), -ENOSPC),
    )
    writes = and_(_writable(flags), not_(is_path))
    with m.under(fine):
        with m.under(not_(exists)):
            make_inode(m, oracle.fresh, j)
        values = {"refs": 1, "ino": m.state[f"n{j}"], "pos": 0, "wr": writes, "lock": 0, "shared": False}
        values |= {"rd": not_(or_(flags.has(WRONLY), is_path)), "app": and_(flags.has(APPEND), not_(is_path))}
        values |= {"path": is_path}
        values |= {"sync": and_(or_(flags.has(SYNC), flags.has(DSYNC)), not_(is_path)), "h": False, "err": 0}
        for name, value in values.items():
            m.set_d(slot, name, value)
        # Linux empties the file even when it is opened for reading only.
        with m.under(and_(flags.has(TRUNC), not_(is_path), not_(m.of_file(slot, "special")))):
            cut(m, slot, 0)
    return ite(fine, slot, error)  # type: ignore[no-any-return]


@kernel_call("accept4")
def accept4(m: Machine, call: Call, oracle: Oracle) -> Num:
    """A new connection: what will be sent on it is a stream of cells that the peer reads as they come."""
    slot, fresh = new_slot(m), oracle.fresh
    if slot < 0:
        return -EMFILE
    error, fine = _first(
        (m.is_open(slot), -EMFILE),
        (not_(eq(oracle.fail, 0)), oracle.fail),
        (not_(free_inode(m, fresh)), -ENOSPC),
    )
    with m.under(fine):
        for i in range(INODES):
            with m.under(eq(fresh, i)):
                values: dict[str, Any] = {"size": 0, "special": True, "stream": True, "mapped": False, "dirty": False}
                for name, value in (values | {f"c{c}": 0 for c in range(CELLS)}).items():
                    m.set(f"i{i}.{name}", value)
        fields: dict[str, Any] = {"refs": 1, "ino": fresh, "pos": 0, "wr": True, "rd": True, "app": False}
        for name, value in (
            fields | {"sync": False, "lock": 0, "shared": False, "path": False, "h": False, "err": 0}
        ).items():
            m.set_d(slot, name, value)
        m.snapshot()
    return ite(fine, slot, error)  # type: ignore[no-any-return]


@kernel_call("epoll_wait")
def epoll_wait(m: Machine, call: Call, oracle: Oracle) -> Num:
    """How many events there are: the kernel's choice, since peers and time decide it."""
    return ite(eq(oracle.fail, 0), oracle.short, oracle.fail)  # type: ignore[no-any-return]


def _writable(flags: Flags) -> Bool:
    return not_(iff(flags.has(WRONLY), flags.has(RDWR)))


@kernel_call("stat")
def stat(m: Machine, call: Call, oracle: Oracle) -> Num:
    ino = m.state[f"n{call['name']}"]
    m.emit("ino", ino)
    for i in range(INODES):
        with m.under(eq(ino, i)):
            m.emit("size", m.state[f"i{i}.size"])
    return ite(le(0, ino), 0, -ENOENT)  # type: ignore[no-any-return]


@kernel_call("truncate")
def truncate(m: Machine, call: Call, oracle: Oracle) -> Num:
    """By name: also what another process does to a file through a descriptor of its own."""
    ino, n = m.state[f"n{call['name']}"], call["n"]
    for i in range(INODES):
        with m.under(and_(eq(ino, i), not_(m.state[f"i{i}.special"]))):
            cut_inode(m, i, n)
    return ite(le(0, ino), 0, -ENOENT)  # type: ignore[no-any-return]


def cut_inode(m: Machine, i: int, n: Num) -> None:
    for c in range(CELLS):
        with m.under(le(n, c)):
            m.set(f"i{i}.c{c}", 0)
    m.set(f"i{i}.size", n)
    m.touch(i)
    m.snapshot()


@kernel_call("unlink")
def unlink(m: Machine, call: Call, oracle: Oracle) -> Num:
    there = le(0, m.state[f"n{call['name']}"])
    m.set(f"n{call['name']}", -1)
    return ite(there, 0, -ENOENT)  # type: ignore[no-any-return]


@kernel_call("rename")
def rename(m: Machine, call: Call, oracle: Oracle) -> Num:
    old, to = m.state[f"n{call['name']}"], m.state[f"n{call['to']}"]
    there = le(0, old)
    with m.under(and_(there, not_(eq(old, to)))):  # two names of one file: rename(2) does nothing
        m.set(f"n{call['to']}", old)
        m.set(f"n{call['name']}", -1)
    return ite(there, 0, -ENOENT)  # type: ignore[no-any-return]


@kernel_call("link")
def link(m: Machine, call: Call, oracle: Oracle) -> Num:
    old, to = m.state[f"n{call['name']}"], m.state[f"n{call['to']}"]
    error, fine = _first((lt(old, 0), -ENOENT), (le(0, to), -EEXIST))
    with m.under(fine):
        m.set(f"n{call['to']}", old)
    return error


# -- processes ---------------------------------------------------------------------------------------------------


@kernel_call("fork")
def fork(m: Machine, call: Call, oracle: Oracle) -> Num:
    for d in range(DESCRIPTIONS):
        with m.under(m.is_open(d)):
            m.set_d(d, "shared", True)
    return 0


def see_everything(m: Machine) -> None:
    for key in list(m.state):
        if key[0] in "ni" and key.split(".")[-1] not in ("touched", "mapped", "covered", "special", "stream"):
            m.emit(f"saw.{key}", m.state[key])


@kernel_call("poll", "kill", "sendto", "futex", "wait4", "sync", "execve", "exit_group")
def communicate(m: Machine, call: Call, oracle: Oracle) -> Num:
    """A call that may block, or by which others learn how far we are: they may then look at any file."""
    see_everything(m)
    return 0


# -- what happens without a call of ours -------------------------------------------------------------------------


@kernel_call("load")
def load(m: Machine, call: Call, oracle: Oracle) -> Num:
    """Our process reads its mapping of a file."""
    i = call["inode"]
    with m.under(m.state[f"i{i}.mapped"]):
        for c in range(CELLS):
            m.emit(f"byte{c}", m.state[f"i{i}.c{c}"])
    return 0


@kernel_call("store")
def store(m: Machine, call: Call, oracle: Oracle) -> Num:
    """Our process writes through its shared mapping of a file."""
    i = call["inode"]
    with m.under(and_(m.state[f"i{i}.mapped"], not_(m.state[f"i{i}.special"]))):
        for c in range(CELLS):
            with m.under(and_(eq(call["offset"], c), lt(c, m.state[f"i{i}.size"]))):
                m.set(f"i{i}.c{c}", call["data"].cells[0])
        m.snapshot()
    return 0


@kernel_call("other_reads")
def other_reads(m: Machine, call: Call, oracle: Oracle) -> Num:
    """Another process looks at a file: its size and contents."""
    i = call["inode"]
    m.emit("size", m.state[f"i{i}.size"])
    for c in range(CELLS):
        m.emit(f"byte{c}", m.state[f"i{i}.c{c}"])
    return 0


@kernel_call("other_writes")
def other_writes(m: Machine, call: Call, oracle: Oracle) -> Num:
    """Another process writes a cell of a file at a place, or at its end."""
    i = call["inode"]
    at = ite(call["append"], m.state[f"i{i}.size"], call["offset"])
    with m.under(not_(m.state[f"i{i}.special"])):
        m.leave(le(CELLS, at))
        for c in range(CELLS):
            with m.under(eq(at, c)):
                m.set(f"i{i}.c{c}", call["data"].cells[0])
        m.set(f"i{i}.size", least(most(m.state[f"i{i}.size"], add(at, 1)), CELLS))
        m.touch(i)
        m.snapshot()
    return 0


@kernel_call("other_truncates")
def other_truncates(m: Machine, call: Call, oracle: Oracle) -> Num:
    with m.under(not_(m.state[f"i{call['inode']}.special"])):
        cut_inode(m, call["inode"], call["n"])
    return 0


@kernel_call("other_moves")
def other_moves(m: Machine, call: Call, oracle: Oracle) -> Num:
    """A process that shares a description moves its offset and changes its flags."""
    with m.under(and_(m.is_open(call.slot), m.d(call.slot, "shared"))):
        m.set_d(call.slot, "pos", call["offset"])
        m.set_d(call.slot, "app", call["append"])
    return 0

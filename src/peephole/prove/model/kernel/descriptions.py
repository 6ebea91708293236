"""Open file descriptions: offsets, flags, locks, what they tell of their file, and their end."""

from __future__ import annotations

from typing import Any

from peephole.prove.model.kernel.call import (
    EBADF,
    EINVAL,
    ENOTTY,
    EOPNOTSUPP,
    ESPIPE,
    SEEK_CUR,
    SEEK_SET,
    Call,
    first_error,
    kernel_call,
)
from peephole.prove.model.kernel.data import cell_at, put, use_room
from peephole.prove.model.kernel.descriptors import bit, set_bit
from peephole.prove.model.machine import CELLS, NAMES, ROOM_MAX, Machine, Oracle
from peephole.prove.model.terms import Bool, Num, add, and_, eq, ite, le, lt, most, not_, or_


@kernel_call("lseek")
def lseek(m: Machine, call: Call, oracle: Oracle) -> Num:
    slot, whence = call.slot, call["whence"]
    size = m.of_file(slot, "size")
    base = ite(eq(whence, SEEK_SET), 0, ite(eq(whence, SEEK_CUR), m.d(slot, "pos"), size))
    to = add(base, call["offset"])
    error, fine = first_error(
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
    error, fine = first_error(
        (m.d(call.slot, "path"), -EBADF),
        (m.of_file(call.slot, "special"), -EINVAL),
        (not_(eq(oracle.fail, 0)), oracle.fail),
    )
    with m.under(fine):
        m.set_file(call.slot, "dirty", False)
    return error


F_GETFD, F_SETFD, F_GETFL, F_SETFL = 1, 2, 3, 4
FD_CLOEXEC = 1


@kernel_call("fcntl")
def fcntl(m: Machine, call: Call, oracle: Oracle) -> Num:
    slot, command = call.slot, call["command"]
    with m.under(eq(command, F_SETFL)):
        m.set_d(slot, "app", call["append"])
    with m.under(eq(command, F_SETFD)):
        set_bit(m, call, is_odd(call.words.get("bits", 0)))
    known = ite(eq(command, F_GETFL), status_flags(m.state, slot), 0)
    known = ite(eq(command, F_GETFD), ite(bit(m, call), FD_CLOEXEC, 0), known)
    return ite(and_(le(1, command), le(command, 4)), known, -EINVAL)  # type: ignore[no-any-return]


def is_odd(bits: Num) -> Bool:
    """Whether the lowest of two bits is set: FD_CLOEXEC, the only one that F_SETFD looks at."""
    return or_(eq(bits, 1), eq(bits, 3))


def status_flags(state: dict[str, Any], slot: int) -> Num:
    """What F_GETFL says: the access mode, 4 for O_APPEND, 8 for O_SYNC or O_DSYNC."""
    mode = ite(state[f"d{slot}.wr"], ite(state[f"d{slot}.rd"], 2, 1), 0)
    return add(mode, add(ite(state[f"d{slot}.app"], 4, 0), ite(state[f"d{slot}.sync"], 8, 0)))


TCGETS, FICLONE, FIOCLEX = 20, 21, 23


@kernel_call("ioctl")
def ioctl(m: Machine, call: Call, oracle: Oracle) -> Num:
    slot, source, request = call.slot, call.other, call["request"]
    out = slot
    size = m.of_file(source, "size")
    error, fine = first_error(
        (m.d(slot, "path"), -EBADF),
        (eq(request, FIOCLEX), 0),
        (not_(eq(request, FICLONE)), -ENOTTY),
        (not_(m.is_open(source)), -EBADF),
        (or_(not_(m.d(source, "rd")), not_(m.d(out, "wr")), m.d(out, "app")), -EBADF),
        (not_(m.state["reflink"]), -EOPNOTSUPP),
        (or_(m.of_file(out, "special"), m.of_file(source, "special")), -EINVAL),
        (and_(eq(m.d(out, "ino"), m.d(source, "ino")), lt(0, size)), -EINVAL),
        (not_(eq(oracle.fail, 0)), oracle.fail),
    )
    with m.under(and_(eq(request, FIOCLEX), not_(m.d(slot, "path")))):
        set_bit(m, call, True)
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
    use_room(m, slot, ROOM_MAX)
    return oracle.fail

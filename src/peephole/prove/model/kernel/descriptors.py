"""Descriptors: the numbers that name a description, and the one thing that each has of its own, its close-on-exec bit.

A description has at most two: `cx0` is the bit of the first, `cx1` that of the second, where there is one. A call that
names the second says so by its word `second`.
"""

from __future__ import annotations

from peephole.prove.model.kernel.call import CLOEXEC, EMFILE, Call, Flags, kernel_call
from peephole.prove.model.kernel.interest import leave_lists
from peephole.prove.model.machine import DESCRIPTIONS, Machine, Oracle
from peephole.prove.model.terms import Bool, Num, add, and_, eq, ite, lt, not_, sub


def opened(m: Machine, slot: int, flags: Flags) -> None:
    """A new description has one descriptor."""
    m.set_d(slot, "cx0", flags.has(CLOEXEC))
    m.set_d(slot, "cx1", False)


def bit(m: Machine, call: Call) -> Bool:
    """The bit of the descriptor that a call names."""
    return ite(_second(m, call, call.slot), m.d(call.slot, "cx1"), m.d(call.slot, "cx0"))  # type: ignore[no-any-return]


def set_bit(m: Machine, call: Call, value: Bool) -> None:
    """The same, changed."""
    second = _second(m, call, call.slot)
    with m.under(second):
        m.set_d(call.slot, "cx1", value)
    with m.under(not_(second)):
        m.set_d(call.slot, "cx0", value)


def _second(m: Machine, call: Call, slot: int) -> Bool:
    return and_(call.words.get("second", False), eq(m.d(slot, "refs"), 2))


def _named(m: Machine, slot: int, value: Bool) -> None:
    m.set_d(slot, "refs", add(m.d(slot, "refs"), 1))
    m.set_d(slot, "cx1", value)


def _unnamed(m: Machine, call: Call, slot: int) -> None:
    with m.under(not_(_second(m, call, slot))):
        m.set_d(slot, "cx0", and_(m.d(slot, "cx1"), eq(m.d(slot, "refs"), 2)))
    m.set_d(slot, "cx1", False)
    m.set_d(slot, "refs", sub(m.d(slot, "refs"), 1))
    leave_lists(m, slot)


@kernel_call("dup")
def dup(m: Machine, call: Call, oracle: Oracle) -> Num:
    """F_DUPFD_CLOEXEC sets the new descriptor's bit; nothing inherits one."""
    room = lt(m.d(call.slot, "refs"), 2)
    with m.under(room):
        _named(m, call.slot, call.words.get("cloexec", False))
    return ite(room, 0, -EMFILE)  # type: ignore[no-any-return]


@kernel_call("dup2")
def dup2(m: Machine, call: Call, oracle: Oracle) -> Num:
    """A descriptor of `other` becomes one of `slot`; dup3 may set its bit."""
    room = and_(lt(m.d(call.slot, "refs"), 2), m.is_open(call.other))
    with m.under(room):
        _unnamed(m, call, call.other)
        _named(m, call.slot, call.words.get("cloexec", False))
    return ite(room, 0, -EMFILE)  # type: ignore[no-any-return]


@kernel_call("close")
def close(m: Machine, call: Call, oracle: Oracle) -> Num:
    # Locks die with the last descriptor that our process, or one that shares it, has.
    _unnamed(m, call, call.slot)
    return 0


@kernel_call("close_range")
def close_range(m: Machine, call: Call, oracle: Oracle) -> Num:
    """With CLOSE_RANGE_CLOEXEC, of all that are open: it closes none."""
    for d in range(DESCRIPTIONS):
        with m.under(m.is_open(d)):
            m.set_d(d, "cx0", True)
            m.set_d(d, "cx1", eq(m.d(d, "refs"), 2))
    return 0


def handed_on(m: Machine) -> None:
    """Which descriptors the program of an exec has: it, or whoever it talks to, sees them."""
    for d in range(DESCRIPTIONS):
        for k in range(2):
            m.emit(f"kept{d}.{k}", and_(lt(k, m.d(d, "refs")), not_(m.d(d, f"cx{k}"))))


@kernel_call("thread_execs")
def thread_execs(m: Machine, call: Call, oracle: Oracle) -> Num:
    """Another thread of ours, which has settled what there was, has got as far as the exec itself."""
    with m.under(m.state["threads"]):
        handed_on(m)
    return 0

"""Interest lists of epolls: what our process asks the kernel to tell it, and what a wait may say."""

from __future__ import annotations

from peephole.prove.model.kernel.call import EEXIST, EINVAL, EIO, ENOENT, Call, first_error, kernel_call
from peephole.prove.model.machine import DESCRIPTIONS, EPOLLS, Machine, Oracle
from peephole.prove.model.terms import Bool, Num, add, and_, eq, ite, lt, not_, or_

ADD, DEL, MOD = 1, 2, 3


def asks_out(mask: Num) -> Bool:
    """Whether EPOLLOUT is among the events: 1 stands for EPOLLIN, 2 for EPOLLOUT."""
    return lt(1, mask)


def leave_lists(m: Machine, slot: int) -> None:
    """The last descriptor of a description is closed: no list has it any more."""
    for q in range(EPOLLS if "q0.asked" in m.state else 0):
        with m.under(eq(m.d(slot, "refs"), 0)):
            _put(m, slot, q, False, 0, 0)


def _put(m: Machine, slot: int, q: int, there: Bool, mask: Num, tag: Num) -> None:
    for name, value in (("in", there), ("mask", mask), ("tag", tag)):
        m.set_d(slot, f"q{q}.{name}", value)


@kernel_call("epoll_ctl")
def epoll_ctl(m: Machine, call: Call, oracle: Oracle) -> Num:
    """On the place of one description in one list. A mask of -1 can't be read, or is not level-triggered."""
    slot, op, mask, tag = call.slot, call["op"], call["mask"], call["tag"]
    result: Num = 0
    for q in range(EPOLLS):
        with m.under(eq(call["epoll"], q)):
            there = m.d(slot, f"q{q}.in")
            fails = and_(not_(eq(op, DEL)), not_(eq(oracle.fail, 0)))
            error, fine = first_error(
                (and_(fails, lt(mask, 0)), oracle.fail),
                (or_(lt(op, ADD), lt(MOD, op)), -EINVAL),
                (and_(eq(op, ADD), there), -EEXIST),
                (and_(not_(eq(op, ADD)), not_(there)), -ENOENT),
                (and_(eq(op, ADD), fails), oracle.fail),
            )
            stays = not_(eq(op, DEL))
            with m.under(fine):
                _put(m, slot, q, stays, ite(stays, mask, 0), ite(stays, tag, 0))
                with m.under(and_(stays, lt(mask, 0))):
                    m.emit("armed", 1)  # an edge, or a single shot, counts from here
            result = ite(eq(call["epoll"], q), error, result)
    return result


@kernel_call("other_controls")
def other_controls(m: Machine, call: Call, oracle: Oracle) -> Num:
    """Another process changes a place in a list: it can only where it has the description too."""
    with m.under(and_(m.is_open(call.slot), m.d(call.slot, "shared"))):
        epoll_ctl(m, call, Oracle())
    return 0


@kernel_call("epoll_wait", "other_waits")
def epoll_wait(m: Machine, call: Call, oracle: Oracle) -> Num:
    """How many events there are: the kernel's choice, since peers and time decide it; and the list decides.

    In the plain run `told` names events that the wait is to be answered with. That it may, where each is asked for and
    is there: which of several it tells first is the kernel's choice too.
    """
    normal = ite(eq(oracle.fail, 0), oracle.short, oracle.fail)
    if "epoll" not in call.words:
        return normal  # type: ignore[no-any-return]
    result: Num = 0
    for q in range(EPOLLS):
        here = eq(call["epoll"], q)
        with m.under(here):
            result = ite(here, _wait(m, q, normal), result)
    return result


def _wait(m: Machine, q: int, normal: Num) -> Num:
    chosen = or_(*m.told.values())
    count: Num = 0
    fits: Bool = True
    for d in range(DESCRIPTIONS):
        there, mask, tag = (m.d(d, f"q{q}.{n}") for n in ("in", "mask", "tag"))
        with m.under(not_(chosen)):
            m.emit(f"list{d}", ite(there, add(add(mask, 2), ite(eq(tag, 1), 8, 0)), 0))
        told = m.told.get(d, False)
        with m.under(told):
            m.emit(f"event{d}", add(tag, 1))
        fits = and_(fits, or_(not_(told), and_(there, asks_out(mask), lt(0, m.d(d, "room")))))
        count = add(count, ite(told, 1, 0))
    return ite(chosen, ite(fits, count, -EIO), normal)  # type: ignore[no-any-return]


@kernel_call("close_epoll")
def close_epoll(m: Machine, call: Call, oracle: Oracle) -> Num:
    """The last descriptor of an epoll is closed, and its number may be given to the next one."""
    for q in range(EPOLLS):
        for d in range(DESCRIPTIONS):
            with m.under(eq(call["epoll"], q)):
                _put(m, d, q, False, 0, 0)
    return 0


@kernel_call("thread_begins")
def thread_begins(m: Machine, call: Call, oracle: Oracle) -> Num:
    """From here on another thread of ours may wait, or be about to."""
    m.set("threads", True)
    return 0

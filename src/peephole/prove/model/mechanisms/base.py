"""What every mechanism stands on: the machine, the program's call, and the rule's own calls."""

from __future__ import annotations

from typing import Any

from peephole.errors import RuleError
from peephole.prove.language import RuleText
from peephole.prove.model import kernel
from peephole.prove.model.interpret import Descriptor, number, run_function, truth
from peephole.prove.model.kernel import Call, Data, perform
from peephole.prove.model.machine import CHUNK, DESCRIPTIONS, IDEAL, Machine, Oracle
from peephole.prove.model.terms import Bool, Num, add, and_, eq, ite, least, lt, not_, or_, sub

FULL = 99
#: calls that give a new description
OPENS = ("openat", "accept4", "socket", "pipe2")


def pending(m: Machine, rule: RuleText, slot: int) -> Bool:
    """Whether the rule has something to make good on this description."""
    if m.d(slot, "h") is False:
        return False
    said = run_function(m, rule, rule.pending, Pure(m), {"fd": Descriptor(slot, slot)}, slot)
    return and_(m.d(slot, "h"), truth(said))


class Pure:
    """The mechanisms that `pending` may use."""

    def __init__(self, m: Machine) -> None:
        self.m = m

    def __call__(self, name: str, arguments: list[Any]) -> Any:
        m = self.m
        match name:
            case "length":
                return m.d(arguments[0], "len")
            case "room":
                return sub(m.sizes.capacity, m.d(arguments[0], "len"))
            case "writable":
                return kernel.writable(arguments[0])
            case "regular":
                slot = arguments[0].slot
                return and_(m.is_open(slot), not_(m.of_file(slot, "special")), m.of_file(slot, "covered"))
            case "asks_out":
                return kernel.interest.asks_out(number(arguments[0]))
            case "single":
                return not_(m.state["threads"]) if "threads" in m.state else True
            case "cost":
                return number(arguments[0])
            case "private" | "alone":
                return m.d(arguments[0].slot, "h")
        raise RuleError(f"the model has no mechanism {name}")


class Base(Pure):
    """What mechanisms share; each kind of them is a class of its own beside this one."""

    def __init__(self, m: Machine, rule: RuleText, call: Call | None, oracle: Oracle, slot: int | None) -> None:
        super().__init__(m)
        self.rule, self.call, self.oracle, self.slot = rule, call, oracle, slot
        self.used: Bool = False  # the program's own call was made

    def once(self) -> None:
        m = self.m
        if m.interrupt and self.call is not None and self.call.name in OPENS:
            m.interrupt(m)  # an open may block: it runs with signals open and no state held
        m.broken("the program's call is made twice", self.used)
        self.used = or_(self.used, m.guard)
        m.forwarded = or_(m.forwarded, m.guard)

    def must_not_wait(self) -> None:
        """On a socket, and in a wait, the program's call may block: nothing may be pending then."""
        m = self.m
        if self.call is None or not (self.rule.streams or self.rule.pipes) or self.call.name in OPENS:
            return
        if self.rule.interest and self.call.slot >= 0:
            return  # only waits could tell
        waits = True if self.call.slot < 0 else m.of_file(self.call.slot, "special")
        left = or_(*[pending(m, self.rule, d) for d in range(DESCRIPTIONS)])
        m.broken("nothing is pending across a call that may block or communicate", and_(waits, left))

    def at_once(self) -> Any:
        """The program's call, if it need not wait: else -EAGAIN, and it has not been made."""
        m = self.m
        assert self.call is not None
        with m.under(m.file_given):
            self.once()
            r = perform(m, self.call, self.oracle)
        return r

    def own(self, call: Call) -> Num:
        """A call of the rule's own on a description: it may fail, where the proof lets it."""
        m = self.m
        oracle = m.own.get(call.slot, IDEAL)
        if m.settling is not None:
            m.broken("settle calls the kernel before it cleared its state", pending(m, self.rule, m.settling))
        self.note_failure(oracle.fail)
        return perform(m, call, Oracle(oracle.fail, FULL, 0))

    def note_failure(self, fail: Num) -> None:
        m = self.m
        hurt = and_(m.guard, not_(eq(fail, 0)))
        m.failed = or_(m.failed, hurt)
        if m.settling is not None:
            m.failed_in_settle = or_(m.failed_in_settle, hurt)

    def gathered(self, fd: Descriptor, slot: int, length: Num, at: Num | None, advance: bool) -> Num:
        """write() of the buffer's first cells, repeated after short counts; some may be out when it fails.

        At a place; or, without one, on a stream.
        """
        m = self.m
        if m.settling is not None:
            m.broken("settle calls the kernel before it cleared its state", pending(m, self.rule, m.settling))
        m.broken("more is written than the buffer holds", or_(lt(length, 0), lt(m.sizes.capacity, length)))
        oracle = m.own.get(fd.slot, IDEAL)
        fails = and_(not_(eq(oracle.fail, 0)), lt(0, length))
        with m.under(fails):
            self.note_failure(oracle.fail)
        writes = and_(m.d(fd.slot, "wr"), m.is_open(fd.slot))
        count = ite(fails, least(oracle.short, length), length)
        cells = tuple(m.d(slot, f"b{k}") for k in range(CHUNK))
        with m.under(writes):
            if at is None:
                kernel.send(m, fd.slot, cells, count)
            else:
                kernel.put(m, fd.slot, at, cells, count)
                name, place = ("write", {}) if advance else ("pwrite64", {"offset": at})
                m.note(Call(name, fd.slot, words={"n": length, "data": Data(cells, CHUNK), **place}), -1, length)
            if advance and at is not None:
                m.set_d(fd.slot, "pos", ite(lt(0, count), add(at, count), m.d(fd.slot, "pos")))
        return ite(writes, ite(fails, oracle.fail, length), ite(lt(0, length), -kernel.EBADF, 0))  # type: ignore[no-any-return]

"""Mechanisms of rules about interest lists: the twins of core/runtime/interest.c."""

from __future__ import annotations

from typing import Any

from peephole.prove.model.interpret import Descriptor, number, run_function
from peephole.prove.model.kernel import Call, perform
from peephole.prove.model.kernel.interest import asks_out
from peephole.prove.model.machine import DESCRIPTIONS, EPOLLS, IDEAL
from peephole.prove.model.mechanisms.base import Base, Pure, pending
from peephole.prove.model.terms import Bool, Num, add, and_, eq, ite, lt, not_, or_


class InterestMechanisms(Base):
    """`k.watchable`, `k.level`, `k.tag`, `k.watch`, `k.known`."""

    def do_watchable(self, epoll: Any) -> Bool:
        """Nobody else in the process can wait there, and its closing will be seen."""
        m = self.m
        for q in range(EPOLLS):
            with m.under(eq(number(epoll), q)):
                m.set(f"q{q}.asked", True)
        return not_(m.state["threads"])

    def do_level(self, event: Any) -> Num:
        assert self.call is not None
        return self.call["mask"]  # type: ignore[no-any-return]

    def do_tag(self, event: Any) -> Num:
        assert self.call is not None
        return self.call["tag"]  # type: ignore[no-any-return]

    def do_asks_out(self, mask: Any) -> Bool:
        return asks_out(number(mask))

    def do_watch(self, epoll: Any, op: Any, fd: Descriptor, mask: Any, tag: Any) -> Num:
        """epoll_ctl by the rule; on a place that is there it does not fail."""
        m = self.m
        if m.settling is not None:
            m.broken("settle calls the kernel before it cleared its state", pending(m, self.rule, m.settling))
        words = {"epoll": epoll, "op": op, "mask": mask, "tag": tag}
        return perform(m, Call("epoll_ctl", fd.slot, words={w: number(v) for w, v in words.items()}), IDEAL)

    def do_known(self, epoll: Any, events: Any, n: Any) -> Num:
        """Events that the rule knows to be there, told without a wait; and how many."""
        m, count = self.m, 0
        assert self.rule.ready is not None
        total: Num = count
        for d in range(DESCRIPTIONS):
            said = run_function(m, self.rule, self.rule.ready, Pure(m), {"fd": Descriptor(d, d)}, d)
            here = and_(m.file_given, m.d(d, "h"), eq(number(said), number(epoll)))
            m.known[d] = or_(m.known.get(d, False), and_(m.guard, here))
            with m.under(here):
                m.emit(f"event{d}", add(m.d(d, "f.tag"), 1))
            total = add(total, ite(here, 1, 0))
        m.later = or_(m.later, and_(m.guard, lt(0, total)))
        return total


__all__ = ["InterestMechanisms"]

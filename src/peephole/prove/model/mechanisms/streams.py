"""Mechanisms of rules that gather what is sent: the twins of core/runtime/streams.c."""

from __future__ import annotations

from typing import Any

from peephole.prove.model import kernel
from peephole.prove.model.interpret import Descriptor, number
from peephole.prove.model.machine import DESCRIPTIONS
from peephole.prove.model.mechanisms.base import Base, pending
from peephole.prove.model.terms import Num, and_, ite, lt, or_, sub


class StreamMechanisms(Base):
    """`k.receive`, `k.ready`, `k.roomy`, `k.send_all`, `k.send_more`, `k.push`."""

    def do_receive(self, fd: Descriptor, memory: Any, n: Any) -> Num:
        return ite(self.m.file_given, self.at_once(), -kernel.EAGAIN)  # type: ignore[no-any-return]

    def do_ready(self, fd: Any, memory: Any, n: Any) -> Num:
        m = self.m
        left = or_(*[pending(m, self.rule, d) for d in range(DESCRIPTIONS)])
        m.later = or_(m.later, and_(m.guard, left))
        return ite(m.file_given, self.at_once(), 0)  # type: ignore[no-any-return]

    def do_roomy(self, fd: Descriptor) -> Num:
        """How much the kernel surely takes beside what is kept here; or 0."""
        m = self.m
        return ite(m.file_given, sub(m.d(fd.slot, "room"), m.d(fd.slot, "len")), 0)  # type: ignore[no-any-return]

    def do_send_all(self, fd: Descriptor, slot: int, length: Any) -> Num:
        m, length = self.m, number(length)
        m.broken("more is sent than there surely is room for", lt(m.d(fd.slot, "room"), length))
        return self.gathered(fd, slot, length, None, advance=False)

    def do_send_more(self, fd: Descriptor, slot: int, length: Any) -> Num:
        """In how many pieces the peer gets them is the kernel's choice."""
        return self.do_send_all(fd, slot, length)

    def do_push(self, fd: Descriptor) -> int:
        return 0

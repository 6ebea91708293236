"""Mechanisms of rules that look ahead in pipes: the twins of core/runtime/pipes.c."""

from __future__ import annotations

from typing import Any

from peephole.prove.model import kernel
from peephole.prove.model.interpret import Descriptor, number
from peephole.prove.model.machine import CHUNK
from peephole.prove.model.mechanisms.base import Base, pending
from peephole.prove.model.terms import Num, add, and_, ite, least, lt, most, not_, or_, sub


class PipeMechanisms(Base):
    """`k.peek`, `k.consume`."""

    def do_peek(self, fd: Descriptor, slot: int) -> Num:
        """The first cells of what the pipe holds now, which stay there; perhaps fewer, or none."""
        m = self.m
        at = m.d(fd.slot, "pos")
        left = most(sub(m.of_file(fd.slot, "size"), at), 0)
        count = ite(m.is_pipe(fd.slot), least(least(most(m.filled, 0), left), m.sizes.capacity), 0)
        for b in range(CHUNK):
            with m.under(lt(b, count)):
                m.set_d(slot, f"b{b}", kernel.cell_at(m, fd.slot, add(at, b)))
        m.set_d(slot, "len", count)
        return count  # type: ignore[no-any-return]

    def do_consume(self, fd: Descriptor, n: Any) -> int:
        """Read so many cells and forget them. They are there: nobody else reads this pipe."""
        m, n = self.m, number(n)
        if m.settling is not None:
            m.broken("settle calls the kernel before it cleared its state", pending(m, self.rule, m.settling))
        to = add(m.d(fd.slot, "pos"), n)
        m.broken("more is taken from the pipe than it holds", or_(lt(n, 0), lt(m.of_file(fd.slot, "size"), to)))
        with m.under(and_(m.is_pipe(fd.slot), not_(lt(n, 0)))):
            m.set_d(fd.slot, "pos", to)
        return 0

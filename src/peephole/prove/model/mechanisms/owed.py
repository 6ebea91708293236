"""Syncs that are answered and made later: the twins of core/runtime/owed.c.

One description at a time owes a sync of its file. What is owed is known to every process of the tree, so a call of any
of them is a call of ours here: before one that may change another file, or a name, the sync is made.
"""

from __future__ import annotations

from typing import Any

from peephole.prove.calls import call_table, quiet_calls
from peephole.prove.language import RuleText
from peephole.prove.model.interpret import Descriptor
from peephole.prove.model.kernel import Call
from peephole.prove.model.machine import DESCRIPTIONS, IDEAL, INODES, Machine
from peephole.prove.model.mechanisms.base import Base
from peephole.prove.model.terms import Bool, Num, and_, eq, ite, le, lt, not_, or_


class OwedMechanisms(Base):
    """`k.sync_age`, `k.owe`."""

    def do_sync_age(self, fd: Descriptor) -> Num:
        return self.m.now

    def do_owe(self, fd: Descriptor, ms: Any) -> Num:
        """Whether the sync may be put off is the runtime's choice; never while another file owes one."""
        m = self.m
        mapped = or_(*[m.state[f"i{i}.mapped"] for i in range(INODES)])
        given = and_(
            m.file_given, m.is_open(fd.slot), or_(lt(m.state["owed"], 0), owing_file(m, fd.slot)), not_(mapped)
        )
        with m.under(given):
            m.set("owed", fd.slot)
        return ite(given, 1, 0)  # type: ignore[no-any-return]


def owing_file(m: Machine, slot: int) -> Bool:
    """Whether this description's file is the one that owes a sync."""
    owed = m.state["owed"]
    return or_(*[and_(eq(owed, d), eq(m.d(d, "ino"), m.d(slot, "ino"))) for d in range(DESCRIPTIONS)])


def may_wait(m: Machine, call: Call, kind: str) -> Bool:
    """Whether a call leaves every other file and every name as they are, and the description that owes open."""
    if call.name in quiet_calls() or kind == "INERT":
        return True
    owed = m.state["owed"]
    if kind == "FD":
        named = [slot for slot in (call.slot, call.other) if slot >= 0]
        return and_(*[_harmless(m, slot) for slot in named])
    if kind == "CLOSE":
        return not_(eq(owed, call.slot))
    if kind == "DUP":
        row = call_table()[call.name]
        return row.fd_arg2 < 0 or not_(eq(owed, call.other))
    return False


def _harmless(m: Machine, slot: int) -> Bool:
    return or_(not_(m.is_open(slot)), m.of_file(slot, "special"), owing_file(m, slot))


def settle_owed(m: Machine, rule: RuleText) -> None:
    """Make the sync that is owed; a failure stays with its description."""
    if "owed" not in m.state:
        return
    owed = m.state["owed"]
    for d in range(DESCRIPTIONS):
        with m.under(eq(owed, d)) as guard:
            if guard is False:
                continue
            nested, m.settling = m.settling, d
            r = Base(m, rule, None, IDEAL, d).own(Call("fsync", d))
            m.settling = nested
            with m.under(and_(lt(r, 0), eq(m.d(d, "err"), 0))):
                m.set_d(d, "err", r)
    with m.under(le(0, owed)):
        m.set("owed", -1)


__all__ = ["OwedMechanisms", "may_wait", "settle_owed"]

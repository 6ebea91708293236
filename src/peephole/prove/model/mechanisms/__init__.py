"""The mechanisms that a rule may ask for by `k.NAME(...)`, one method `do_NAME` each, and how effects settle."""

from __future__ import annotations

from typing import Any

from peephole.prove.language import RuleText
from peephole.prove.model.interpret import Descriptor, number, run_function
from peephole.prove.model.machine import DESCRIPTIONS, IDEAL, Machine
from peephole.prove.model.mechanisms.actions import ActionMechanisms, forget_actions
from peephole.prove.model.mechanisms.attributes import AttributeMechanisms, forget_seen, seen_changes
from peephole.prove.model.mechanisms.base import OPENS, Base, pending
from peephole.prove.model.mechanisms.buffers import BufferMechanisms
from peephole.prove.model.mechanisms.calls import CallMechanisms
from peephole.prove.model.mechanisms.examined import ExaminedMechanisms, forget_examined
from peephole.prove.model.mechanisms.files import FileMechanisms
from peephole.prove.model.mechanisms.interest import InterestMechanisms
from peephole.prove.model.mechanisms.names import NameMechanisms, forget_absent
from peephole.prove.model.mechanisms.naps import NapMechanisms
from peephole.prove.model.mechanisms.owed import OwedMechanisms, may_wait, settle_owed
from peephole.prove.model.mechanisms.pipes import PipeMechanisms
from peephole.prove.model.mechanisms.streams import StreamMechanisms
from peephole.prove.model.terms import Num, and_, eq, ite, lt


class Mechanisms(
    CallMechanisms,
    BufferMechanisms,
    FileMechanisms,
    OwedMechanisms,
    NameMechanisms,
    ExaminedMechanisms,
    StreamMechanisms,
    InterestMechanisms,
    NapMechanisms,
    PipeMechanisms,
    ActionMechanisms,
    AttributeMechanisms,
):
    """The mechanisms that a handler or settle may use."""

    def __call__(self, name: str, arguments: list[Any]) -> Any:
        method = getattr(self, f"do_{name}", None)
        return method(*arguments) if method else super().__call__(name, arguments)

    def do_settle(self, fd: Descriptor) -> Num:
        return settle(self.m, self.rule, fd.slot)

    def do_settle_all(self) -> Num:
        if not self.rule.place:
            settle_all(self.m, self.rule)
        return 0


def settle(m: Machine, rule: RuleText, slot: int) -> Num:
    """Make good what is pending on one description: 0, or -errno."""
    with m.under(pending(m, rule, slot)) as guard:
        if guard is False:
            return 0
        nested, m.settling = m.settling, slot
        k = Mechanisms(m, rule, None, IDEAL, slot)
        r = run_function(m, rule, rule.settle, k, {"fd": Descriptor(slot, slot)}, slot)
        m.settling = nested
        m.broken("settle leaves something pending", pending(m, rule, slot))
        r = number(r)
        return ite(and_(guard, lt(r, 0)), r, 0)  # type: ignore[no-any-return]


def settle_all(m: Machine, rule: RuleText) -> None:
    """Make everything good; a failure stays with its description until a call names it."""
    for slot in range(DESCRIPTIONS):
        r = settle(m, rule, slot)
        with m.under(and_(lt(r, 0), eq(m.d(slot, "err"), 0))):
            m.set_d(slot, "err", r)


def forget(m: Machine, rule: RuleText, slot: int) -> None:
    """A call that the rule does not see names the description: what is remembered of it may be wrong."""
    if rule.forget:
        with m.under(m.d(slot, "h")):
            k = _Forgetting(m, rule, None, IDEAL, slot)
            run_function(m, rule, rule.forget, k, {"fd": Descriptor(slot, slot)}, slot)


class _Forgetting(BufferMechanisms):
    """What `forget` may use: no kernel call."""

    def __call__(self, name: str, arguments: list[Any]) -> Any:
        return self.do_clear(*arguments) if name == "clear" else super().__call__(name, arguments)


__all__ = [
    "OPENS",
    "Base",
    "Mechanisms",
    "forget",
    "forget_absent",
    "forget_actions",
    "forget_examined",
    "forget_seen",
    "may_wait",
    "pending",
    "seen_changes",
    "settle",
    "settle_all",
    "settle_owed",
]

"""Mechanisms of rules about the actions of signals: the twins of core/runtime/actions.c."""

from __future__ import annotations

from typing import Any

from peephole.prove.model import kernel
from peephole.prove.model.interpret import number
from peephole.prove.model.kernel.actions import discards, kept
from peephole.prove.model.machine import ACTION, SIGNALS, Machine
from peephole.prove.model.mechanisms.base import Base
from peephole.prove.model.terms import Bool, Num, and_, eq, ite, not_, or_

_PARTS = tuple(ACTION)


class ActionMechanisms(Base):
    """`k.action`, `k.recalled`, `k.discards`, `k.unsure`, `k.remember`, `k.give_action`."""

    def do_action(self, act: Any, part: int) -> Num:
        """A part of what `act` points to, which may be where the kernel puts the old action."""
        assert self.call is not None
        call, name = self.call, _PARTS[part]
        old = self.m.out.get(f"old.{name}", 0)
        value = ite(and_(self.used, eq(call["old"], 3)), old, kept(name, call[name]))
        readable = eq(act, 1) if name == "options" else or_(eq(act, 1), eq(act, 3))
        return ite(readable, value, -1)  # type: ignore[no-any-return]

    def do_recalled(self, signal: Any, part: int) -> Num:
        value: Num = -1
        for j in range(SIGNALS):
            here = and_(eq(number(signal), j), self.m.state[f"recall{j}.known"])
            value = ite(here, self.m.state[f"recall{j}.{_PARTS[part]}"], value)
        return value

    def do_discards(self, signal: Any, handler: Any) -> Bool:
        return discards(number(signal), number(handler))

    def do_unsure(self, signal: Any) -> int:
        for j in range(SIGNALS):
            with self.m.under(eq(number(signal), j)):
                self.m.set(f"recall{j}.known", False)
        return 0

    def do_remember(self, signal: Any, *parts: Any, told: bool = False) -> int:
        m = self.m
        for j in range(SIGNALS):
            with m.under(eq(number(signal), j)):
                for name, value in zip(_PARTS, parts, strict=True):
                    m.set(f"recall{j}.{name}", number(value))
                m.set(f"recall{j}.known", True)
                m.set(f"recall{j}.told", told)
        return 0

    def do_remember_for_all(self, signal: Any, *parts: Any) -> int:
        """Of the model only: what one program knows, the next one in the process is told."""
        return self.do_remember(signal, *parts, told=True)

    def do_give_action(self, old: Any, *parts: Any) -> Num:
        m = self.m
        with m.under(or_(eq(old, 1), eq(old, 3))):
            for name, value in zip(_PARTS, parts, strict=True):
                m.emit(f"old.{name}", number(value))
        return ite(eq(old, 2), -kernel.EFAULT, 0)  # type: ignore[no-any-return]


def forget_actions(m: Machine) -> None:
    """A new program knows nothing, but for what it is told."""
    for j in range(SIGNALS):
        with m.under(not_(m.state[f"recall{j}.told"])):
            m.set(f"recall{j}.known", False)

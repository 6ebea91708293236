"""Mechanisms of rules that shorten sleeps: the twins of core/runtime/naps.c."""

from __future__ import annotations

from typing import Any

from peephole.prove.model.kernel import Call, perform
from peephole.prove.model.mechanisms.base import Base
from peephole.prove.model.terms import Num, least


class NapMechanisms(Base):
    """`k.in_a_row`, `k.nap`."""

    def do_in_a_row(self, request: Any) -> Num:
        """How often in a row this thread has asked for just this sleep, nothing in between; 0: unreadable."""
        assert self.call is not None
        return self.call["row"]  # type: ignore[no-any-return]

    def do_nap(self, request: Any, times: Any) -> Num:
        """The program's own sleep, cut to a short while that doubles with `times`."""
        assert self.call is not None
        self.once()
        cut = least(self.call["n"], 1)
        return perform(self.m, Call(self.call.name, words={**self.call.words, "n": cut}), self.oracle)

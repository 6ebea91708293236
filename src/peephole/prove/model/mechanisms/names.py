"""Mechanisms of rules that change names: the twins of core/runtime/names.c."""

from __future__ import annotations

from typing import Any

from peephole.prove.model import kernel
from peephole.prove.model.machine import INODES, NAMES, Machine
from peephole.prove.model.mechanisms.base import Base
from peephole.prove.model.terms import Bool, Num, and_, eq, ite, le, not_, or_


class NameMechanisms(Base):
    """`k.absent`, `k.replaceable`, `k.exchange`, `k.unlinkat`."""

    def refused(self) -> Bool:
        """Whether the kernel refuses this one of the rule's own calls on names."""
        m = self.m
        made = len(m.names_passed)
        return m.refuses[made] if made < len(m.refuses) else False

    def passed(self) -> None:
        m = self.m
        m.names_passed.append((m.guard, {k: v for k, v in m.state.items() if k[0] == "n"}))

    def do_replaceable(self, old_dir: Any, old: int, new_dir: Any, new: int) -> Bool:
        """Both names are there, of two regular files on a covered mount, in one directory."""
        m = self.m
        a, b = m.state[f"n{old}"], m.state[f"n{new}"]
        plain = []
        for i in range(INODES):
            fine = and_(not_(m.state[f"i{i}.special"]), m.state[f"i{i}.covered"])
            plain += [or_(not_(or_(eq(a, i), eq(b, i))), fine)]
        return and_(le(0, a), le(0, b), not_(eq(a, b)), *plain)

    def do_absent(self, directory: Any, name: int) -> Num:
        """Whether a listing of the name's folder, this moment's or an earlier one, lacks it."""
        m = self.m
        free = not_(m.is_open(kernel.new_slot(m))) if kernel.new_slot(m) >= 0 else False
        listed = and_(m.file_given, eq(m.state[f"n{name}"], -1))
        m.set(f"absent.{name}", or_(m.state[f"absent.{name}"], listed))
        return ite(and_(m.state[f"absent.{name}"], free), 1, 0)  # type: ignore[no-any-return]

    def do_exchange(self, old_dir: Any, old: int, new_dir: Any, new: int) -> Num:
        m = self.m
        a, b = m.state[f"n{old}"], m.state[f"n{new}"]
        missing, refused = not_(and_(le(0, a), le(0, b))), self.refused()
        if len(m.names_passed) > 1:
            # What was begun can't be undone: the call fails, as one does that meets an error in the middle.
            m.failed = or_(m.failed, and_(m.guard, refused))
        with m.under(not_(or_(missing, refused))):
            m.set(f"n{old}", b)
            m.set(f"n{new}", a)
        self.passed()
        r = ite(missing, -kernel.ENOENT, ite(refused, -kernel.EIO, 0))
        m.note(kernel.Call("exchange", words={"name": old, "to": new}), -1, r)
        return r  # type: ignore[no-any-return]

    def do_unlinkat(self, directory: Any, name: int) -> Num:
        m = self.m
        missing, refused = not_(le(0, m.state[f"n{name}"])), self.refused()
        with m.under(not_(or_(missing, refused))):
            m.set(f"n{name}", -1)
        self.passed()
        r = ite(missing, -kernel.ENOENT, ite(refused, -kernel.EIO, 0))
        m.note(kernel.Call("unlink", words={"name": name}), -1, r)
        return r  # type: ignore[no-any-return]


def forget_absent(m: Machine, call: kernel.Call, kind: str) -> None:
    """Before a call that may change a name, or communicate, nothing is known of absent names any more."""
    keeps: Bool = kind in ("CLOSE", "DUP", "MAPS", "INERT") or call.name == "stat"
    if call.name == "openat":
        keeps = not_(call["flags"].has(kernel.CREAT))
    elif kind == "FD":
        named = [slot for slot in (call.slot, call.other) if slot >= 0]
        keeps = and_(*[not_(m.of_file(slot, "special")) for slot in named])
    with m.under(not_(keeps)):
        for j in range(NAMES):
            m.set(f"absent.{j}", False)

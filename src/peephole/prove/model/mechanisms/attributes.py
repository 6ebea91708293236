"""What the program has looked at, and the tree's table of what files lack: the twins of core/runtime/attributes.c.

The table is a set, and an answer rests on one of its members; so one member that may be any stands for all.
"""

from __future__ import annotations

from typing import Any

from peephole.prove.model import kernel
from peephole.prove.model.interpret import number, truth
from peephole.prove.model.machine import INODES, NAMES, Machine
from peephole.prove.model.mechanisms.base import Base
from peephole.prove.model.terms import Bool, Num, add, and_, eq, iff, implies, ite, le, lt, not_, or_, sub


class AttributeMechanisms(Base):
    """`k.look`, `k.looked`, `k.seen` and what it was, `k.attribute`, `k.age`, `k.lacks`, `k.lacked`."""

    def do_look(self, directory: Any, name: int) -> Num:
        return ite(self.m.file_given, 1, 0)  # type: ignore[no-any-return]

    def do_looked(self, look: Any, name: int, memory: Any) -> int:
        m = self.m
        with m.under(truth(look)):
            m.set("seen.known", True)
            m.set("seen.name", name)
            m.set("seen.file", m.out.get("inode", 0))
            m.set("seen.time", m.out.get("changed", 0))
            m.set("seen.linked", not_(eq(m.out.get("link", 0), 0)))
        return 0

    def do_seen(self, name: int) -> Num:
        return ite(and_(self.m.state["seen.known"], eq(self.m.state["seen.name"], name)), 1, 0)  # type: ignore[no-any-return]

    def do_seen_file(self, seen: Any) -> Num:
        return ite(truth(seen), self.m.state["seen.file"], 0)  # type: ignore[no-any-return]

    def do_seen_link(self, seen: Any) -> Bool:
        return or_(not_(truth(seen)), self.m.state["seen.linked"])

    def do_seen_time(self, seen: Any) -> Num:
        return ite(truth(seen), self.m.state["seen.time"], -1)  # type: ignore[no-any-return]

    def do_attribute(self, attribute: Any) -> Num:
        return ite(self.m.file_given, add(attribute, 1), 0)  # type: ignore[no-any-return]

    def do_age(self, changed: Any) -> Num:
        return sub(self.m.state["clock"], number(changed))

    def do_lacks(self, file: Any, changed: Any, which: Any) -> int:
        m = self.m
        with m.under(m.file_given):
            m.set("table.there", True)
            m.set("table.file", number(file))
            m.set("table.time", number(changed))
            m.set("table.which", number(which))
        return 0

    def do_lacked(self, file: Any, changed: Any, which: Any) -> Num:
        s = self.m.state
        asked = {"file": file, "time": changed, "which": which}
        return ite(and_(s["table.there"], *[eq(s[f"table.{k}"], number(v)) for k, v in asked.items()]), 1, 0)  # type: ignore[no-any-return]


def forget_seen(m: Machine, call: kernel.Call, kind: str) -> None:
    """Before a call that may change a file, or what a path means, nothing is known of what was looked at."""
    if kind != "INERT" and call.name not in ("getxattr", "lgetxattr"):
        m.set("seen.known", False)


def seen_changes(before: dict[str, Any], after: dict[str, Any]) -> Bool:
    """Whether what was looked at is another file now, or another than it was."""
    moved: list[Bool] = []
    for j in range(NAMES):
        moved.append(and_(eq(before["seen.name"], j), not_(eq(before[f"n{j}"], after[f"n{j}"]))))
    for i in range(INODES):
        same = [eq(before[f"i{i}.{k}"], after[f"i{i}.{k}"]) for k in ("changed", "link")]
        same += [iff(before[f"i{i}.{k}"], after[f"i{i}.{k}"]) for k in ("a0", "a1")]
        moved.append(and_(eq(before["seen.file"], i), not_(and_(*same))))
    return and_(before["seen.known"], or_(*moved))


def seen_holds(s: dict[str, Any]) -> Bool:
    """What was looked at is as it was."""
    facts: list[Bool] = [implies(eq(s["seen.name"], j), eq(s[f"n{j}"], s["seen.file"])) for j in range(NAMES)]
    for i in range(INODES):
        time = or_(lt(s["seen.time"], 0), eq(s["seen.time"], s[f"i{i}.changed"]))
        linked = iff(s["seen.linked"], le(0, s[f"i{i}.link"]))
        facts.append(implies(eq(s["seen.file"], i), and_(time, linked)))
    return implies(s["seen.known"], and_(*facts))


def table_holds(s: dict[str, Any]) -> Bool:
    """What the table says was so of each file that has that change time; and a change gives another."""
    facts: list[Bool] = [lt(s["table.time"], s["clock"])]
    for i in range(INODES):
        here = and_(eq(s["table.file"], i), eq(s["table.time"], s[f"i{i}.changed"]))
        facts += [implies(and_(here, eq(s["table.which"], a + 1)), not_(s[f"i{i}.a{a}"])) for a in range(2)]
    return implies(s["table.there"], and_(*facts))


__all__ = ["AttributeMechanisms", "forget_seen", "seen_changes", "seen_holds", "table_holds"]

"""What files were when they were last examined: the twins of core/runtime/examined.c, changes.c and core/keeper/.

The table is the tree's: a call of any of its processes is a call of ours here. Of other processes' changes the keeper
hears some time later, so that here it never does.
"""

from __future__ import annotations

from typing import Any

from peephole.prove.calls import quiet_calls
from peephole.prove.model import kernel
from peephole.prove.model.kernel import Call
from peephole.prove.model.machine import INODES, NAMES, Machine
from peephole.prove.model.mechanisms.base import Base
from peephole.prove.model.terms import Bool, Num, and_, eq, ite, le, not_, or_

#: calls on descriptors after which a file is as it was
_KEEP = ("fsync", "fdatasync", "sync_file_range")
#: calls that change what they name
_NAMED = ("truncate", "unlink", "rename", "link")


class ExaminedMechanisms(Base):
    """`k.examined`."""

    def do_examined(self, directory: Any, name: int, to: Any, flags: Any) -> Num:
        """Whether the file is known: since before, or since the keeper has examined it, which it may have done now."""
        m = self.m
        with m.under(and_(m.file_given, _may_be_kept(m, name))):
            _keep(m, name)
        known = m.state[f"known.{name}"]
        with m.under(known):
            for what in ("ino", "size", "read"):
                m.emit(what, m.state[f"known.{name}.{what}"])
        return ite(known, 1, 0)  # type: ignore[no-any-return]


def _may_be_kept(m: Machine, name: int) -> Bool:
    """A regular file on a covered mount that has no other name and is not mapped."""
    ino = m.state[f"n{name}"]
    alone = [not_(eq(m.state[f"n{j}"], ino)) for j in range(NAMES) if j != name]
    plain = []
    for i in range(INODES):
        fine = and_(not_(m.state[f"i{i}.special"]), m.state[f"i{i}.covered"], not_(m.state[f"i{i}.mapped"]))
        plain.append(or_(not_(eq(ino, i)), fine))
    return and_(le(0, ino), *alone, *plain)


def _keep(m: Machine, name: int) -> None:
    ino = m.state[f"n{name}"]
    m.set(f"known.{name}", True)
    m.set(f"known.{name}.ino", ino)
    for i in range(INODES):
        with m.under(eq(ino, i)):
            m.set(f"known.{name}.size", m.state[f"i{i}.size"])
            m.set(f"known.{name}.read", m.state[f"i{i}.read"])


def forget_name(m: Machine, name: int) -> None:
    """A change of a name: nothing is answered before the keeper has heard of it."""
    m.set(f"known.{name}", False)


def forget_inode(m: Machine, ino: Num) -> None:
    """A mark: what is known of this file holds no more, by whatever name."""
    for j in range(NAMES):
        with m.under(eq(m.state[f"known.{j}.ino"], ino)):
            m.set(f"known.{j}", False)


def forget_examined(m: Machine, call: Call, kind: str) -> None:
    """Before a call: what it may change is told."""
    named: Bool = call.name in _NAMED
    if call.name == "openat":
        named = or_(call["flags"].has(kernel.CREAT), call["flags"].has(kernel.TRUNC))
    with m.under(named) as guard:
        for word in ("name", "to") if guard is not False else ():
            if word in call.words:
                forget_inode(m, m.state[f"n{call[word]}"])
                forget_name(m, call[word])
    if call.name in quiet_calls() or call.name in (*_KEEP, *_NAMED, "openat"):
        return
    if kind in ("FD", "MAPS") or call.slot >= 0:
        for slot in (call.slot, call.other):
            if slot >= 0 and kind in ("FD", "MAPS", "ANY"):
                with m.under(m.is_open(slot)):
                    forget_inode(m, m.d(slot, "ino"))
    elif kind == "ANY":
        for j in range(NAMES):
            forget_name(m, j)


def is_so(state: dict[str, Any], name: int) -> Bool:
    """Whether what is known of a name is what the kernel would say, but for the time of its last read."""
    ino, known = state[f"n{name}"], state[f"known.{name}.ino"]
    sizes = [or_(not_(eq(ino, i)), eq(state[f"known.{name}.size"], state[f"i{i}.size"])) for i in range(INODES)]
    return or_(not_(state[f"known.{name}"]), and_(le(0, ino), eq(ino, known), *sizes))


__all__ = ["ExaminedMechanisms", "forget_examined", "is_so"]

"""Stream sockets and pipes: what was sent is a file of cells that the other end reads as they come."""

from __future__ import annotations

from typing import Any

from peephole.prove.model.kernel.call import EMFILE, ENOSPC, Call, first_error, kernel_call
from peephole.prove.model.kernel.names import free_inode, new_slot
from peephole.prove.model.machine import CELLS, INODES, ROOM_MAX, Machine, Oracle
from peephole.prove.model.terms import Num, eq, ite, least, not_


@kernel_call("accept4", "socket")
def accept4(m: Machine, call: Call, oracle: Oracle) -> Num:
    """A new connection: what will be sent on it is a stream of cells that the peer reads as they come."""
    return _made(m, oracle, "stream", {"rd": True, "wr": True})


@kernel_call("pipe2")
def pipe2(m: Machine, call: Call, oracle: Oracle) -> Num:
    """The read end of a pipe, which from here on this process alone has; others write."""
    return _made(m, oracle, "pipe", {"rd": True, "wr": False})


def _made(m: Machine, oracle: Oracle, kind: str, ends: dict[str, Any]) -> Num:
    slot, fresh = new_slot(m), oracle.fresh
    if slot < 0:
        return -EMFILE
    error, fine = first_error(
        (m.is_open(slot), -EMFILE),
        (not_(eq(oracle.fail, 0)), oracle.fail),
        (not_(free_inode(m, fresh)), -ENOSPC),
    )
    with m.under(fine):
        for i in range(INODES):
            with m.under(eq(fresh, i)):
                values: dict[str, Any] = {"size": 0, "special": True, kind: True, "mapped": False, "dirty": False}
                for name, value in (values | {f"c{c}": 0 for c in range(CELLS)}).items():
                    m.set(f"i{i}.{name}", value)
        fields: dict[str, Any] = {"refs": 1, "ino": fresh, "pos": 0, "app": False, **ends}
        if kind == "stream":
            fields["room"] = least(oracle.short, ROOM_MAX)
        for name, value in (
            fields | {"sync": False, "lock": 0, "shared": False, "path": False, "h": False, "err": 0}
        ).items():
            m.set_d(slot, name, value)
        m.snapshot()
    return ite(fine, slot, error)  # type: ignore[no-any-return]

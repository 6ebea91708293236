"""Names: what they are opened to, made, moved and taken away."""

from __future__ import annotations

from peephole.prove.model.kernel.call import (
    APPEND,
    CREAT,
    DSYNC,
    EEXIST,
    EMFILE,
    ENOENT,
    ENOSPC,
    EXCL,
    PATH,
    SYNC,
    TRUNC,
    WRONLY,
    Call,
    Flags,
    first_error,
    kernel_call,
    writable,
)
from peephole.prove.model.kernel.data import cut
from peephole.prove.model.kernel.descriptors import opened
from peephole.prove.model.machine import CELLS, DESCRIPTIONS, INODES, NAMES, Machine, Oracle
from peephole.prove.model.terms import Bool, Num, and_, eq, ite, le, lt, not_, or_


def free_inode(m: Machine, i: Num) -> Bool:
    """Whether this inode has no name, no descriptor and no mapping of ours."""
    used: list[Bool] = [eq(m.state[f"n{j}"], i) for j in range(NAMES)]
    used += [and_(m.is_open(d), eq(m.d(d, "ino"), i)) for d in range(DESCRIPTIONS)]
    used += [and_(eq(i, k), m.state[f"i{k}.mapped"]) for k in range(INODES)]
    return not_(or_(*used))


def make_inode(m: Machine, i: Num, name: int) -> None:
    for k in range(INODES):
        with m.under(eq(i, k)):
            m.set(f"i{k}.size", 0)
            for c in range(CELLS):
                m.set(f"i{k}.c{c}", 0)
            m.set(f"i{k}.special", False)
            for kind in ("stream", "pipe", "a0", "a1"):
                if f"i{k}.{kind}" in m.state:
                    m.set(f"i{k}.{kind}", False)
            if f"i{k}.link" in m.state:
                m.set(f"i{k}.link", -1)
            m.touch(k)
    m.set(f"n{name}", i)
    m.snapshot()


def no_link(m: Machine, inode: Num) -> None:
    """Only `statx` and `getxattr` follow symbolic links here."""
    for i in range(INODES if "clock" in m.state else 0):
        m.leave(and_(eq(inode, i), le(0, m.state[f"i{i}.link"])))


def new_slot(m: Machine) -> int:
    """The slot of the next open: fixed by symmetry in proofs, the first free one with plain values; -1: none."""
    if m.new_slot is not None:
        return m.new_slot
    free = [d for d in range(DESCRIPTIONS) if m.is_open(d) is False]
    return free[0] if free else -1


@kernel_call("openat")
def openat(m: Machine, call: Call, oracle: Oracle) -> Num:
    flags: Flags = call["flags"]
    slot, j = new_slot(m), call["name"]
    if slot < 0:
        return -EMFILE
    ino = m.state[f"n{j}"]
    no_link(m, ino)
    exists, is_path = le(0, ino), flags.has(PATH)
    creates = and_(flags.has(CREAT), not_(is_path))
    error, fine = first_error(
        (m.is_open(slot), -EMFILE),
        (and_(not_(exists), not_(creates)), -ENOENT),
        (and_(exists, creates, flags.has(EXCL)), -EEXIST),
        (not_(eq(oracle.fail, 0)), oracle.fail),
        (and_(not_(exists), not_(free_inode(m, oracle.fresh))), -ENOSPC),
    )
    writes = and_(writable(flags), not_(is_path))
    with m.under(fine):
        with m.under(not_(exists)):
            make_inode(m, oracle.fresh, j)
        values = {"refs": 1, "ino": m.state[f"n{j}"], "pos": 0, "wr": writes, "lock": 0, "shared": False}
        values |= {"rd": not_(or_(flags.has(WRONLY), is_path)), "app": and_(flags.has(APPEND), not_(is_path))}
        values |= {"path": is_path}
        values |= {"sync": and_(or_(flags.has(SYNC), flags.has(DSYNC)), not_(is_path)), "h": False, "err": 0}
        for name, value in values.items():
            m.set_d(slot, name, value)
        opened(m, slot, flags)
        # Linux empties the file even when it is opened for reading only.
        with m.under(and_(flags.has(TRUNC), not_(is_path), not_(m.of_file(slot, "special")))):
            cut(m, slot, 0)
    return ite(fine, slot, error)  # type: ignore[no-any-return]


@kernel_call("stat")
def stat(m: Machine, call: Call, oracle: Oracle) -> Num:
    ino = m.state[f"n{call['name']}"]
    no_link(m, ino)
    for i in range(INODES):
        with m.under(eq(ino, i)):
            m.emit("ino", i)
            m.emit("size", m.state[f"i{i}.size"])
            if f"i{i}.read" in m.state:
                m.emit("read", m.state[f"i{i}.read"])
    return ite(le(0, ino), 0, -ENOENT)  # type: ignore[no-any-return]


@kernel_call("unlink")
def unlink(m: Machine, call: Call, oracle: Oracle) -> Num:
    there = le(0, m.state[f"n{call['name']}"])
    m.set(f"n{call['name']}", -1)
    return ite(there, 0, -ENOENT)  # type: ignore[no-any-return]


@kernel_call("rename")
def rename(m: Machine, call: Call, oracle: Oracle) -> Num:
    old, to = m.state[f"n{call['name']}"], m.state[f"n{call['to']}"]
    there = le(0, old)
    with m.under(and_(there, not_(eq(old, to)))):  # two names of one file: rename(2) does nothing
        m.set(f"n{call['to']}", old)
        m.set(f"n{call['name']}", -1)
    return ite(there, 0, -ENOENT)  # type: ignore[no-any-return]


@kernel_call("link")
def link(m: Machine, call: Call, oracle: Oracle) -> Num:
    old, to = m.state[f"n{call['name']}"], m.state[f"n{call['to']}"]
    error, fine = first_error((lt(old, 0), -ENOENT), (le(0, to), -EEXIST))
    with m.under(fine):
        m.set(f"n{call['to']}", old)
    return error

"""Extended attributes, change times and symbolic links: what `statx` and `getxattr` tell of a name.

Only with rules that ask for them. An inode has a change time, in steps of the kernel's clock: two changes in one step
have the same. A link leads to a name, in one step.
"""

from __future__ import annotations

from typing import Any

from peephole.prove.model.kernel.call import ENODATA, ENOENT, NOFOLLOW, Call, first_error, kernel_call
from peephole.prove.model.machine import CLOCK_MAX, INODES, NAMES, Machine, Oracle
from peephole.prove.model.terms import Bool, Num, add, and_, eq, ite, le, lt, not_


def of_inode(m: Machine, inode: Num, name: str) -> Any:
    """A field of an inode."""
    value = m.state[f"i{INODES - 1}.{name}"]
    for i in reversed(range(INODES - 1)):
        value = ite(eq(inode, i), m.state[f"i{i}.{name}"], value)
    return value


def leads_to(m: Machine, name: int, follows: Bool) -> Num:
    """The inode that a path names, or -1; a link that leads to a link is beyond the model."""
    inode = m.state[f"n{name}"]
    target = of_inode(m, inode, "link")
    end: Num = -1
    for j in range(NAMES):
        end = ite(eq(target, j), m.state[f"n{j}"], end)
    linked = and_(follows, le(0, inode), le(0, target))
    m.leave(and_(linked, le(0, end), le(0, of_inode(m, end, "link"))))
    return ite(linked, end, inode)  # type: ignore[no-any-return]


@kernel_call("statx")
def statx(m: Machine, call: Call, oracle: Oracle) -> Num:
    inode = leads_to(m, call["name"], not_(call["flags"].has(NOFOLLOW)))
    error, fine = first_error((lt(inode, 0), -ENOENT), (not_(eq(oracle.fail, 0)), oracle.fail))
    with m.under(fine):
        m.emit("inode", inode)
        m.emit("link", le(0, of_inode(m, inode, "link")))
        m.emit("changed", ite(call["asked"], of_inode(m, inode, "changed"), -1))
    return error


@kernel_call("getxattr", "lgetxattr")
def getxattr(m: Machine, call: Call, oracle: Oracle) -> Num:
    inode = leads_to(m, call["name"], call.name == "getxattr")
    there = ite(eq(call["attribute"], 0), of_inode(m, inode, "a0"), of_inode(m, inode, "a1"))
    error, fine = first_error((lt(inode, 0), -ENOENT), (not_(eq(oracle.fail, 0)), oracle.fail), (not_(there), -ENODATA))
    return ite(fine, 1, error)  # type: ignore[no-any-return]


@kernel_call("lsetxattr")
def lsetxattr(m: Machine, call: Call, oracle: Oracle) -> Num:
    """Set an attribute of what a name names, or remove it (lremovexattr): its change time moves to the clock's."""
    inode, attribute, sets = m.state[f"n{call['name']}"], call["attribute"], call["placed"]
    there = ite(eq(attribute, 0), of_inode(m, inode, "a0"), of_inode(m, inode, "a1"))
    error, fine = first_error((lt(inode, 0), -ENOENT), (and_(not_(sets), not_(there)), -ENODATA))
    for i in range(INODES):
        with m.under(and_(fine, eq(inode, i))):
            for a in range(2):
                with m.under(eq(attribute, a)):
                    m.set(f"i{i}.a{a}", sets)
            m.set(f"i{i}.changed", m.state["clock"])
    return error


@kernel_call("time_passes")
def time_passes(m: Machine, call: Call, oracle: Oracle) -> Num:
    now = add(m.state["clock"], call["n"])
    m.leave(lt(CLOCK_MAX, now))
    m.set("clock", now)
    return 0


@kernel_call("other_learns")
def other_learns(m: Machine, call: Call, oracle: Oracle) -> Num:
    """Another program of the tree finds that a file lacks an attribute: the table belongs to all."""
    i, attribute = call["inode"], call["attribute"]
    there = ite(eq(attribute, 0), m.state[f"i{i}.a0"], m.state[f"i{i}.a1"])
    with m.under(and_(not_(there), lt(m.state[f"i{i}.changed"], m.state["clock"]))):
        m.set("table.there", True)
        m.set("table.file", i)
        m.set("table.time", m.state[f"i{i}.changed"])
        m.set("table.which", add(attribute, 1))
    return 0

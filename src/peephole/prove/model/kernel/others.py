"""What happens without a call of ours: by our mappings, and by other processes."""

from __future__ import annotations

from peephole.prove.model.kernel.call import Call, kernel_call
from peephole.prove.model.kernel.data import cut_inode
from peephole.prove.model.machine import CELLS, Machine, Oracle
from peephole.prove.model.terms import Num, add, and_, eq, ite, le, least, lt, most, not_, or_


@kernel_call("load")
def load(m: Machine, call: Call, oracle: Oracle) -> Num:
    """Our process reads its mapping of a file."""
    i = call["inode"]
    with m.under(m.state[f"i{i}.mapped"]):
        for c in range(CELLS):
            m.emit(f"byte{c}", m.state[f"i{i}.c{c}"])
    return 0


@kernel_call("store")
def store(m: Machine, call: Call, oracle: Oracle) -> Num:
    """Our process writes through its shared mapping of a file."""
    i = call["inode"]
    with m.under(and_(m.state[f"i{i}.mapped"], not_(m.state[f"i{i}.special"]))):
        for c in range(CELLS):
            with m.under(and_(eq(call["offset"], c), lt(c, m.state[f"i{i}.size"]))):
                m.set(f"i{i}.c{c}", call["data"].cells[0])
        m.snapshot()
    return 0


@kernel_call("other_reads")
def other_reads(m: Machine, call: Call, oracle: Oracle) -> Num:
    """Another process looks at a file: its size and contents."""
    i = call["inode"]
    m.emit("size", m.state[f"i{i}.size"])
    for c in range(CELLS):
        m.emit(f"byte{c}", m.state[f"i{i}.c{c}"])
    return 0


@kernel_call("other_writes")
def other_writes(m: Machine, call: Call, oracle: Oracle) -> Num:
    """Another process writes a cell of a file at a place, or at its end."""
    i = call["inode"]
    pipe = m.state.get(f"i{i}.pipe", False)
    at = ite(or_(call["append"], pipe), m.state[f"i{i}.size"], call["offset"])
    with m.under(or_(pipe, not_(m.state[f"i{i}.special"]))):
        m.leave(le(CELLS, at))
        for c in range(CELLS):
            with m.under(eq(at, c)):
                m.set(f"i{i}.c{c}", call["data"].cells[0])
        m.set(f"i{i}.size", least(most(m.state[f"i{i}.size"], add(at, 1)), CELLS))
        m.touch(i)
        m.snapshot()
    return 0


@kernel_call("other_truncates")
def other_truncates(m: Machine, call: Call, oracle: Oracle) -> Num:
    with m.under(not_(m.state[f"i{call['inode']}.special"])):
        cut_inode(m, call["inode"], call["n"])
    return 0


@kernel_call("other_moves")
def other_moves(m: Machine, call: Call, oracle: Oracle) -> Num:
    """A process that shares a description moves its offset and changes its flags."""
    with m.under(and_(m.is_open(call.slot), m.d(call.slot, "shared"))):
        written = m.of_file(call.slot, "size")
        to = ite(m.is_pipe(call.slot), least(call["offset"], written), call["offset"])
        m.set_d(call.slot, "pos", to)
        m.set_d(call.slot, "app", call["append"])
    return 0

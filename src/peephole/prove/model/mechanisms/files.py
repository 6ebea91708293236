"""Mechanisms of rules that read ahead or put off syncs: the twins of core/runtime/files.c."""

from __future__ import annotations

from typing import Any

from peephole.prove.model import kernel
from peephole.prove.model.interpret import Descriptor, number
from peephole.prove.model.kernel import Call
from peephole.prove.model.machine import CHUNK
from peephole.prove.model.mechanisms.base import Base
from peephole.prove.model.terms import Num, add, and_, eq, ite, le, least, lt, most, not_, or_, sub


class FileMechanisms(Base):
    """`k.fill`, `k.take`, `k.copy_mapped`, `k.fsync`, `k.fdatasync`, `k.now`."""

    def do_fill(self, fd: Descriptor, slot: int, offset: Any) -> Num:
        """pread of as much as the buffer holds. It may give less, or fail: nobody has asked for those bytes yet."""
        m, at = self.m, number(offset)
        left = most(sub(m.of_file(fd.slot, "size"), at), 0)
        got = least(least(m.filled, left), m.sizes.capacity)
        bad = or_(not_(m.d(fd.slot, "rd")), lt(at, 0))
        r = ite(bad, -kernel.EBADF, ite(lt(m.filled, 0), m.filled, got))
        count = most(r, 0)
        for b in range(CHUNK):
            with m.under(lt(b, count)):
                m.set_d(slot, f"b{b}", kernel.cell_at(m, fd.slot, add(at, b)))
        m.set_d(slot, "len", count)
        return r  # type: ignore[no-any-return]

    def do_take(self, slot: int, memory: Any, offset: Any, n: Any) -> Num:
        """Copy n cells of the buffer, from `offset` on, to the program's memory."""
        m, at, n = self.m, number(offset), number(n)
        m.broken("more is taken than the buffer holds", or_(lt(at, 0), lt(n, 0), lt(m.d(slot, "len"), add(at, n))))
        fine = le(n, memory)
        for j in range(CHUNK):
            cell: Num = 0
            for b in range(CHUNK):
                cell = ite(eq(add(at, j), b), m.d(slot, f"b{b}"), cell)
            with m.under(and_(fine, lt(j, n))):
                m.emit(f"byte{j}", cell)
        return ite(fine, n, -kernel.EFAULT)  # type: ignore[no-any-return]

    def do_copy_mapped(self, fd: Descriptor, memory: Any, offset: Any, n: Any) -> Num:
        """Copy n cells of the file as a mapping shows them: zeros behind its end, nothing where it has ended before."""
        m, at, n = self.m, number(offset), number(n)
        m.broken("a negative place or count", or_(lt(at, 0), lt(n, 0)))
        there = and_(m.file_given, m.d(fd.slot, "rd"), m.is_open(fd.slot), lt(at, m.of_file(fd.slot, "size")))
        fine = and_(there, le(n, memory))
        for j in range(CHUNK):
            with m.under(and_(fine, lt(j, n))):
                m.emit(f"byte{j}", kernel.cell_at(m, fd.slot, add(at, j)))
        return ite(fine, n, -kernel.EFAULT)  # type: ignore[no-any-return]

    def do_fsync(self, fd: Descriptor) -> Num:
        return self.own(Call("fsync", fd.slot))

    def do_fdatasync(self, fd: Descriptor) -> Num:
        return self.own(Call("fdatasync", fd.slot))

    def do_now(self) -> Num:
        return self.m.now

"""The buffer that the runtime keeps for each state: the twins of core/runtime/mechanisms.c."""

from __future__ import annotations

from typing import Any

from peephole.prove.model import kernel
from peephole.prove.model.interpret import Descriptor, number
from peephole.prove.model.kernel import Data
from peephole.prove.model.machine import CHUNK
from peephole.prove.model.mechanisms.base import Base
from peephole.prove.model.terms import Num, add, eq, ite, le, lt, or_


class BufferMechanisms(Base):
    """`k.append`, `k.append_vector`, `k.total`, `k.clear`, `k.write_all`, `k.pwrite_all`."""

    def do_append(self, slot: int, data: Data, n: Any) -> Num:
        m, n = self.m, number(n)
        length = m.d(slot, "len")
        m.broken("append does not fit the buffer", or_(lt(n, 0), lt(m.sizes.capacity, add(length, n))))
        fine = le(n, data.good)
        with m.under(fine):
            for k, cell in enumerate(data.cells):
                with m.under(lt(k, n)):
                    for b in range(CHUNK):
                        with m.under(eq(add(length, k), b)):
                            m.set_d(slot, f"b{b}", cell)
            m.set_d(slot, "len", add(length, n))
        return ite(fine, n, -kernel.EFAULT)  # type: ignore[no-any-return]

    def do_append_vector(self, slot: int, data: Data, count: Any) -> Num:
        return self.do_append(slot, data, count)

    def do_total(self, data: Data, count: Any) -> Num:
        """How many cells a vector names: in the model it has as many entries. It may be as bad as what it names."""
        return ite(eq(data.good, 0), -kernel.EFAULT, number(count))  # type: ignore[no-any-return]

    def do_clear(self, slot: int) -> int:
        self.m.set_d(slot, "len", 0)
        return 0

    def do_write_all(self, fd: Descriptor, slot: int, length: Any) -> Num:
        at = ite(self.m.d(fd.slot, "app"), self.m.of_file(fd.slot, "size"), self.m.d(fd.slot, "pos"))
        return self.gathered(fd, slot, number(length), at, advance=True)

    def do_pwrite_all(self, fd: Descriptor, slot: int, length: Any, offset: Any) -> Num:
        return self.gathered(fd, slot, number(length), number(offset), advance=False)

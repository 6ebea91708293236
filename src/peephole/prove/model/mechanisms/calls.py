"""Mechanisms that make calls and look at descriptors: the twins of core/runtime/mechanisms.c."""

from __future__ import annotations

from typing import Any

from peephole.prove.model import kernel
from peephole.prove.model.interpret import Descriptor, number, truth
from peephole.prove.model.kernel import APPEND, Call, Data, Flags, perform
from peephole.prove.model.machine import IDEAL
from peephole.prove.model.mechanisms.base import OPENS, Base, pending
from peephole.prove.model.terms import Bool, Num, and_, eq, ite, lt, not_, or_


class CallMechanisms(Base):
    """`k.forward`, `k.openat`, `k.ftruncate`, `k.lseek`, `k.setfl`, `k.setfd`, `k.close`, `k.file` and their like."""

    def do_forward(self) -> Any:
        if self.call is None:
            self.m.broken("settle forwards a call")
            return 0
        self.once()
        self.must_not_wait()
        slot = kernel.new_slot(self.m)
        r = perform(self.m, self.call, self.oracle)
        return Descriptor(slot, r) if self.call.name in OPENS else r

    def do_openat(self, directory: Any, name: Any, flags: Flags, mode: Any) -> Descriptor:
        assert self.call is not None
        self.once()
        slot = kernel.new_slot(self.m)
        r = perform(self.m, Call("openat", words={"name": name, "flags": flags}), self.oracle)
        return Descriptor(slot, r)

    def do_ftruncate(self, fd: Descriptor, size: Any) -> Num:
        self.m.broken("a negative size", lt(number(size), 0))
        return self.own(Call("ftruncate", fd.slot, words={"n": number(size)}))

    def do_lseek(self, fd: Descriptor, offset: Any, whence: Any) -> Num:
        return perform(
            self.m, Call("lseek", fd.slot, words={"offset": number(offset), "whence": number(whence)}), IDEAL
        )

    def do_setfl(self, fd: Descriptor, flags: Any) -> Num:
        m = self.m
        if isinstance(flags, int):
            if flags & APPEND:
                m.set_d(fd.slot, "app", True)
        else:
            m.set_d(fd.slot, "app", or_(m.d(fd.slot, "app"), flags.has(APPEND)))
        m.note(Call("fcntl", fd.slot, words={"command": kernel.F_SETFL, "append": m.d(fd.slot, "app")}), -1, 0)
        return 0

    def do_setfd(self, fd: Descriptor, bits: Any) -> Num:
        m = self.m
        if m.settling is not None:
            m.broken("settle calls the kernel before it cleared its state", pending(m, self.rule, m.settling))
        m.broken("one of two descriptors is meant, and not said which", eq(m.d(fd.slot, "refs"), 2))
        words = {"command": kernel.F_SETFD, "append": False, "bits": number(bits)}
        return perform(m, Call("fcntl", fd.slot, words=words), IDEAL)

    def do_close(self, fd: Descriptor) -> Num:
        m = self.m
        r = perform(m, Call("close", fd.slot), IDEAL)
        m.set_d(fd.slot, "h", False)
        m.set_d(fd.slot, "len", 0)
        return r

    def do_map_write(self, fd: Descriptor, data: Data, n: Any, shared: Any) -> Num:
        """mmap of the file, memcpy, munmap: what a private mapping was given never reaches the file."""
        m, n = self.m, number(n)
        fine = and_(m.d(fd.slot, "rd"), m.d(fd.slot, "wr"))
        m.leave(lt(m.of_file(fd.slot, "size"), n))  # touching a page beyond the end kills the process
        with m.under(and_(fine, truth(shared))):
            kernel.put(m, fd.slot, 0, data.cells, n)
        return ite(fine, n, -13)  # type: ignore[no-any-return]

    def do_file(self, fd: Descriptor) -> tuple[int, Bool]:
        m = self.m
        if fd.slot < 0:  # no description was left for the open
            m.broken("k.file of what is not open")
            return 0, False
        with m.under(m.file_given):
            m.broken("k.file of what is not open", not_(m.is_open(fd.slot)))
            m.set_d(fd.slot, "h", True)
            for name, kind in self.rule.fields.items():
                m.set_d(fd.slot, f"f.{name}", False if kind == "bool" else 0)
            m.set_d(fd.slot, "len", 0)
        return fd.slot, m.file_given

    def do_release(self, fd: Descriptor) -> int:
        m = self.m
        m.broken("something is pending on what is let go", pending(m, self.rule, fd.slot))
        m.set_d(fd.slot, "h", False)
        m.set_d(fd.slot, "len", 0)
        return 0

    def do_size(self, fd: Descriptor) -> Num:
        if fd.slot < 0:
            return -kernel.EBADF
        return ite(self.m.is_open(fd.slot), self.m.of_file(fd.slot, "size"), -kernel.EBADF)  # type: ignore[no-any-return]

    def do_position(self, fd: Descriptor) -> Num:
        return ite(self.m.is_open(fd.slot), self.m.d(fd.slot, "pos"), -kernel.EBADF)  # type: ignore[no-any-return]

    def do_unopened(self, fd: Descriptor) -> Num:
        """Whether nothing is open there, as far as the runtime can tell."""
        return ite(and_(self.m.file_given, not_(self.m.is_open(fd.slot))), 1, 0)  # type: ignore[no-any-return]

    def do_clones(self, fd: Descriptor) -> Num:
        return ite(self.m.state["reflink"], 1, 0)  # type: ignore[no-any-return]

    def do_stat_set_size(self, memory: Any, size: Any) -> Num:
        self.m.emit("size", number(size))
        return 0

    def do_hit(self) -> int:
        self.m.hits = or_(self.m.hits, self.m.guard)
        return 0

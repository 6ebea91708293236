"""The dispatcher: what happens to a call before it reaches the kernel, as core/runtime/dispatch.c does it.

The classes come from the same table that the C reads (core/runtime/calls.def). The mechanisms that a rule may ask for
are modelled here, one method each.
"""

from __future__ import annotations

from typing import Any

from peephole.errors import RuleError
from peephole.prove.calls import call_table
from peephole.prove.language import Function, RuleText
from peephole.prove.model import kernel
from peephole.prove.model.files import FileMechanisms
from peephole.prove.model.interpret import Descriptor, number, run_function, truth
from peephole.prove.model.kernel import APPEND, Call, Data, Flags, perform
from peephole.prove.model.machine import CELLS, CHUNK, DESCRIPTIONS, IDEAL, INODES, Machine, Oracle
from peephole.prove.model.names import NameMechanisms
from peephole.prove.model.terms import Bool, Num, add, and_, eq, ite, le, least, lt, not_, or_, sub

#: calls that reach rules under another name
_REACHES = {"rename": "renameat"}
#: calls of the alphabet that stand for others: which row of calls.def they take
_AS = {"opaque": "fallocate", "fork_child": "fork"}


def reaches(name: str) -> str:
    """The name under which rules see a call."""
    return _REACHES.get(name, name)


def kind_of(name: str) -> str:
    """The class of a call; a call without a row settles everything."""
    row = call_table().get(_AS.get(name, name))
    return row.kind if row else "ANY"


def dispatch(m: Machine, call: Call, oracle: Oracle) -> Num:
    """One call of our process, with the rule in place; gives its result. `m.rule` is None in the plain run."""
    if m.rule is None or call.by != "us":
        m.forwarded = or_(m.forwarded, m.guard)
        return perform(m, call, oracle)
    return _Dispatch(m, m.rule, call, oracle).run()


def pending(m: Machine, rule: RuleText, slot: int) -> Bool:
    """Whether the rule has something to make good on this description."""
    if m.d(slot, "h") is False:
        return False
    said = run_function(m, rule, rule.pending, _Pure(m), {"fd": Descriptor(slot, slot)}, slot)
    return and_(m.d(slot, "h"), truth(said))


def settle(m: Machine, rule: RuleText, slot: int) -> Num:
    """Make good what is pending on one description: 0, or -errno."""
    with m.under(pending(m, rule, slot)) as guard:
        if guard is False:
            return 0
        nested, m.settling = m.settling, slot
        k = _Mechanisms(m, rule, None, IDEAL, slot)
        r = run_function(m, rule, rule.settle, k, {"fd": Descriptor(slot, slot)}, slot)
        m.settling = nested
        m.broken("settle leaves something pending", pending(m, rule, slot))
        r = number(r)
        return ite(and_(guard, lt(r, 0)), r, 0)  # type: ignore[no-any-return]


def settle_all(m: Machine, rule: RuleText) -> None:
    """Make everything good; a failure stays with its description until a call names it."""
    for slot in range(DESCRIPTIONS):
        r = settle(m, rule, slot)
        with m.under(and_(lt(r, 0), eq(m.d(slot, "err"), 0))):
            m.set_d(slot, "err", r)


class _Dispatch:
    def __init__(self, m: Machine, rule: RuleText, call: Call, oracle: Oracle) -> None:
        self.m, self.rule, self.call, self.oracle = m, rule, call, oracle

    def run(self) -> Num:
        kind = kind_of(self.call.name)
        match kind:
            case "OPEN":
                return self.open()
            case "FD" | "ANY" if self.call.slot >= 0:
                return self.on_descriptor(everything=kind == "ANY")
            case "MAPS":
                return self.maps()
            case "DUP":
                return self.dup()
            case "CLOSE":
                return self.close()
            case "INERT":
                return self.on_process()
            case "WAIT" if self.handler():
                return self.on_process()
        settle_all(self.m, self.rule)
        if kind == "FORK":
            for slot in range(DESCRIPTIONS):
                self.take_away(slot)
        if self.call.name == "fork_child":
            for name, what in self.rule.process.items():
                self.m.set(f"p.f.{name}", False if what == "bool" else 0)
        return self.on_process()

    def on_process(self) -> Num:
        """A call that names no description: the rule's handler, or the kernel."""
        handler = self.handler()
        return self.run_handler(handler) if handler else self.forward()

    def forward(self) -> Num:
        self.m.forwarded = or_(self.m.forwarded, self.m.guard)
        return perform(self.m, self.call, self.oracle)

    def handler(self) -> Function | None:
        h = self.rule.handlers.get(reaches(self.call.name))
        return h if h and h.has_state == (self.call.slot >= 0) else None

    def take_away(self, slot: int) -> None:
        """The description is not handled any more; nothing is pending on it."""
        self.m.set_d(slot, "h", False)
        self.m.set_d(slot, "len", 0)

    def error_of(self, slot: int) -> Num:
        """Takes the error that an earlier settle left."""
        error: Num = self.m.d(slot, "err")
        self.m.set_d(slot, "err", 0)
        return error

    def on_descriptor(self, everything: bool) -> Num:
        """Classes FD and ANY with a descriptor: the rule's handler, or settle and pass."""
        m, slot, other = self.m, self.call.slot, self.call.other
        left = self.error_of(slot)
        result: Num = left
        with m.under(eq(left, 0)):
            handler = self.handler()
            handled = and_(m.d(slot, "h"), handler is not None, other != slot)
            first: Num = 0
            if other >= 0 and not everything:
                with m.under(m.is_open(other)):
                    first = settle(m, self.rule, other)
            with m.under(eq(first, 0)):
                with m.under(handled) as guard:
                    answer = self.run_handler(handler) if handler and guard is not False else 0
                with m.under(not_(handled)):
                    passed = self.settle_and_pass(everything)
            result = ite(eq(left, 0), ite(eq(first, 0), ite(handled, answer, passed), first), left)
        return result

    def settle_and_pass(self, everything: bool) -> Num:
        m, slot, other = self.m, self.call.slot, self.call.other
        r = settle(m, self.rule, slot)
        odd: Bool = or_(not_(m.is_open(slot)), m.of_file(slot, "special"))
        if other >= 0:
            odd = or_(odd, not_(m.is_open(other)), m.of_file(other, "special"))
        with m.under(eq(r, 0)):
            with m.under(True if everything else odd):
                settle_all(m, self.rule)
            passed = self.forward()
        return ite(eq(r, 0), passed, r)  # type: ignore[no-any-return]

    def run_handler(self, handler: Function) -> Num:
        words = self.arguments(handler)
        slot = self.call.slot if handler.has_state else None
        k = _Mechanisms(self.m, self.rule, self.call, self.oracle, slot)
        return number(run_function(self.m, self.rule, handler, k, words, slot))

    def arguments(self, handler: Function) -> dict[str, Any]:
        """The handler's parameters, by position as in the system call."""
        shape = SHAPES[self.call.name]
        if len(handler.parameters) > len(shape):
            raise RuleError(f"{self.rule.path}:{handler.line}: {handler.name} has {len(shape)} arguments")
        return {name: _word(self.call, what) for (name, _), what in zip(handler.parameters, shape, strict=False)}

    def open(self) -> Num:
        m = self.m
        settle_all(m, self.rule)
        handler = self.rule.handlers.get(self.call.name)
        slot = kernel.new_slot(m)
        r = self.run_handler(handler) if handler else self.forward()
        if slot >= 0:
            with m.under(le(0, r)):
                self.examine(slot)
        return r

    def examine(self, slot: int) -> None:
        """Where rules may not act, what was just opened settles and loses its state; so do others of the same file."""
        m = self.m
        mine = m.d(slot, "ino")
        shared: Bool = m.of_file(slot, "mapped")
        for other in range(DESCRIPTIONS):
            if other == slot:
                continue
            same = and_(m.is_open(other), eq(m.d(other, "ino"), mine))
            shared = or_(shared, same)
            with m.under(same):
                self.settle_and_take(other)
        strange = or_(m.of_file(slot, "special"), not_(m.of_file(slot, "covered")))
        if self.rule.streams:
            strange = not_(m.is_stream(slot))
        odd = or_(shared, strange)
        with m.under(odd):
            self.settle_and_take(slot)

    def settle_and_take(self, slot: int) -> None:
        m = self.m
        r = settle(m, self.rule, slot)
        with m.under(and_(lt(r, 0), eq(m.d(slot, "err"), 0))):
            m.set_d(slot, "err", r)
        self.take_away(slot)

    def maps(self) -> Num:
        m, slot = self.m, self.call.slot
        left = self.error_of(slot)
        with m.under(eq(left, 0)):
            self.settle_and_take(slot)
            # Another description of ours on this file can't have state: then neither would be alone.
            r = self.forward()
        return ite(eq(left, 0), r, left)  # type: ignore[no-any-return]

    def dup(self) -> Num:
        m, other = self.m, self.call.other
        r: Num = 0
        if other >= 0:
            with m.under(eq(m.d(other, "refs"), 1)):
                left = self.error_of(other)
                r = ite(m.guard, ite(lt(left, 0), left, settle(m, self.rule, other)), 0)
        with m.under(eq(r, 0)):
            passed = self.forward()
            if other >= 0:
                with m.under(eq(m.d(other, "refs"), 0)):
                    self.take_away(other)
        return ite(eq(r, 0), passed, r)  # type: ignore[no-any-return]

    def close(self) -> Num:
        m, slot = self.m, self.call.slot
        left = self.error_of(slot)
        last = eq(m.d(slot, "refs"), 1)
        with m.under(last):
            r = settle(m, self.rule, slot)
        passed = self.forward()
        with m.under(eq(m.d(slot, "refs"), 0)):
            self.take_away(slot)
        r = ite(lt(left, 0), left, ite(last, r, 0))
        return ite(lt(r, 0), r, passed)  # type: ignore[no-any-return]


#: what stands at each argument of a call that a rule may handle
SHAPES: dict[str, tuple[str, ...]] = {
    "openat": ("dir", "name", "flags", "mode"),
    "accept4": ("dir", "memory", "memory", "mode"),
    "epoll_wait": ("dir", "memory", "mode", "mode"),
    "write": ("fd", "data", "n"),
    "writev": ("fd", "data", "n"),
    "pwrite64": ("fd", "data", "n", "offset"),
    "read": ("fd", "good", "n"),
    "pread64": ("fd", "good", "n", "offset"),
    "lseek": ("fd", "offset", "whence"),
    "fstat": ("fd", "memory"),
    "ftruncate": ("fd", "n"),
    "fsync": ("fd",),
    "fdatasync": ("fd",),
    "fcntl": ("fd", "command", "append"),
    "ioctl": ("fd", "request", "other"),
    "flock": ("fd", "lock"),
    "rename": ("dir", "name", "dir", "to"),
    "nanosleep": ("n", "zero"),
    "clock_nanosleep": ("zero", "absolute", "n", "zero"),
    "copy_file_range": ("other", "memory", "fd", "placed", "n", "zero"),
    **{name: () for name in ("getpid", "getuid", "geteuid", "getgid", "getegid")},
    **{name: ("id",) for name in ("setuid", "setgid", "umask")},
    **{name: ("id", "id") for name in ("setreuid", "setregid")},
    **{name: ("id", "id", "id") for name in ("setresuid", "setresgid")},
}


def _word(call: Call, what: str) -> Any:
    match what:
        case "fd":
            return Descriptor(call.slot, call.slot)
        case "other":
            return Descriptor(call.other, call.other)
        case "dir" | "mode" | "memory" | "zero":
            return 0
        case "placed" | "append":
            return ite(call[what], 1, 0)
    return call[what]


class _Pure:
    """The mechanisms that `pending` may use."""

    def __init__(self, m: Machine) -> None:
        self.m = m

    def __call__(self, name: str, arguments: list[Any]) -> Any:
        m = self.m
        match name:
            case "length":
                return m.d(arguments[0], "len")
            case "room":
                return sub(m.sizes.capacity, m.d(arguments[0], "len"))
            case "writable":
                return kernel._writable(arguments[0])
            case "regular":
                slot = arguments[0].slot
                return and_(m.is_open(slot), not_(m.of_file(slot, "special")), m.of_file(slot, "covered"))
            case "private" | "alone":
                return m.d(arguments[0].slot, "h")
        raise RuleError(f"the model has no mechanism {name}")


class _Mechanisms(FileMechanisms, NameMechanisms, _Pure):
    """The mechanisms that a handler or settle may use."""

    def __init__(self, m: Machine, rule: RuleText, call: Call | None, oracle: Oracle, slot: int | None) -> None:
        super().__init__(m)
        self.rule, self.call, self.oracle, self.slot = rule, call, oracle, slot
        self.used: Bool = False  # the program's own call was made

    def __call__(self, name: str, arguments: list[Any]) -> Any:
        method = getattr(self, f"do_{name}", None)
        return method(*arguments) if method else super().__call__(name, arguments)

    # -- the call itself

    def once(self) -> None:
        m = self.m
        if m.interrupt and self.call is not None and self.call.name in OPENS:
            m.interrupt(m)  # an open may block: it runs with signals open and no state held
        m.broken("the program's call is made twice", self.used)
        self.used = or_(self.used, m.guard)
        m.forwarded = or_(m.forwarded, m.guard)

    def do_forward(self) -> Any:
        if self.call is None:
            self.m.broken("settle forwards a call")
            return 0
        self.once()
        self.must_not_wait()
        slot = kernel.new_slot(self.m)
        r = perform(self.m, self.call, self.oracle)
        return Descriptor(slot, r) if self.call.name in OPENS else r

    def must_not_wait(self) -> None:
        """On a socket, and in a wait, the program's call may block: nothing may be pending then."""
        m = self.m
        if self.call is None or not self.rule.streams or self.call.name in OPENS:
            return
        waits = True if self.call.slot < 0 else m.of_file(self.call.slot, "special")
        left = or_(*[pending(m, self.rule, d) for d in range(DESCRIPTIONS)])
        m.broken("nothing is pending across a call that may block or communicate", and_(waits, left))

    def do_openat(self, directory: Any, name: Any, flags: Flags, mode: Any) -> Descriptor:
        assert self.call is not None
        self.once()
        slot = kernel.new_slot(self.m)
        r = perform(self.m, Call("openat", words={"name": name, "flags": flags}), self.oracle)
        return Descriptor(slot, r)

    # -- streams

    def at_once(self) -> Any:
        """The program's call, if it need not wait: else -EAGAIN, and it has not been made."""
        m = self.m
        assert self.call is not None
        with m.under(m.file_given):
            self.once()
            r = perform(m, self.call, self.oracle)
        return r

    def do_receive(self, fd: Descriptor, memory: Any, n: Any) -> Num:
        return ite(self.m.file_given, self.at_once(), -kernel.EAGAIN)  # type: ignore[no-any-return]

    def do_ready(self, fd: Any, memory: Any, n: Any) -> Num:
        m = self.m
        left = or_(*[pending(m, self.rule, d) for d in range(DESCRIPTIONS)])
        m.later = or_(m.later, and_(m.guard, left))
        return ite(m.file_given, self.at_once(), 0)  # type: ignore[no-any-return]

    def do_roomy(self, fd: Descriptor) -> Num:
        return ite(self.m.file_given, 1, 0)  # type: ignore[no-any-return]

    def do_send_all(self, fd: Descriptor, slot: int, length: Any) -> Num:
        return self.gathered(fd, slot, number(length), self.m.of_file(fd.slot, "size"), advance=False)

    # -- the rule's own calls

    def own(self, call: Call) -> Num:
        """A call of the rule's own on a description: it may fail, where the proof lets it."""
        m = self.m
        oracle = m.own.get(call.slot, IDEAL)
        if m.settling is not None:
            m.broken("settle calls the kernel before it cleared its state", pending(m, self.rule, m.settling))
        self.note_failure(oracle.fail)
        return perform(m, call, Oracle(oracle.fail, FULL, 0))

    def note_failure(self, fail: Num) -> None:
        m = self.m
        hurt = and_(m.guard, not_(eq(fail, 0)))
        m.failed = or_(m.failed, hurt)
        if m.settling is not None:
            m.failed_in_settle = or_(m.failed_in_settle, hurt)

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
        return 0

    def do_close(self, fd: Descriptor) -> Num:
        m = self.m
        r = perform(m, Call("close", fd.slot), IDEAL)
        m.set_d(fd.slot, "h", False)
        m.set_d(fd.slot, "len", 0)
        return r

    def do_write_all(self, fd: Descriptor, slot: int, length: Any) -> Num:
        at = ite(self.m.d(fd.slot, "app"), self.m.of_file(fd.slot, "size"), self.m.d(fd.slot, "pos"))
        return self.gathered(fd, slot, number(length), at, advance=True)

    def do_pwrite_all(self, fd: Descriptor, slot: int, length: Any, offset: Any) -> Num:
        return self.gathered(fd, slot, number(length), number(offset), advance=False)

    def gathered(self, fd: Descriptor, slot: int, length: Num, at: Num, advance: bool) -> Num:
        """write() of the buffer's first cells, repeated after short counts; some may be out when it fails."""
        m = self.m
        if m.settling is not None:
            m.broken("settle calls the kernel before it cleared its state", pending(m, self.rule, m.settling))
        m.broken("more is written than the buffer holds", or_(lt(length, 0), lt(m.sizes.capacity, length)))
        oracle = m.own.get(fd.slot, IDEAL)
        fails = and_(not_(eq(oracle.fail, 0)), lt(0, length))
        with m.under(fails):
            self.note_failure(oracle.fail)
        writes = and_(m.d(fd.slot, "wr"), m.is_open(fd.slot))
        count = ite(fails, least(oracle.short, length), length)
        cells = tuple(m.d(slot, f"b{k}") for k in range(CHUNK))
        with m.under(writes):
            kernel.put(m, fd.slot, at, cells, count)
            if advance:
                m.set_d(fd.slot, "pos", ite(lt(0, count), add(at, count), m.d(fd.slot, "pos")))
        return ite(writes, ite(fails, oracle.fail, length), ite(lt(0, length), -kernel.EBADF, 0))  # type: ignore[no-any-return]

    def do_map_write(self, fd: Descriptor, data: Data, n: Any, shared: Any) -> Num:
        """mmap of the file, memcpy, munmap: what a private mapping was given never reaches the file."""
        m, n = self.m, number(n)
        fine = and_(m.d(fd.slot, "rd"), m.d(fd.slot, "wr"))
        m.leave(lt(m.of_file(fd.slot, "size"), n))  # touching a page beyond the end kills the process
        with m.under(and_(fine, truth(shared))):
            kernel.put(m, fd.slot, 0, data.cells, n)
        return ite(fine, n, -13)  # type: ignore[no-any-return]

    # -- settling

    def do_settle(self, fd: Descriptor) -> Num:
        return settle(self.m, self.rule, fd.slot)

    def do_settle_all(self) -> Num:
        settle_all(self.m, self.rule)
        return 0

    # -- descriptors

    def do_file(self, fd: Descriptor) -> tuple[int, Bool]:
        m = self.m
        with m.under(m.file_given):
            m.broken("k.file of what is not open", not_(m.is_open(fd.slot)))
            m.set_d(fd.slot, "h", True)
            for name, kind in self.rule.fields.items():
                m.set_d(fd.slot, f"f.{name}", False if kind == "bool" else 0)
            m.set_d(fd.slot, "len", 0)
        return fd.slot, m.file_given

    def do_size(self, fd: Descriptor) -> Num:
        return ite(self.m.is_open(fd.slot), self.m.of_file(fd.slot, "size"), -kernel.EBADF)  # type: ignore[no-any-return]

    def do_position(self, fd: Descriptor) -> Num:
        return ite(self.m.is_open(fd.slot), self.m.d(fd.slot, "pos"), -kernel.EBADF)  # type: ignore[no-any-return]

    def do_clones(self, fd: Descriptor) -> Num:
        return ite(self.m.state["reflink"], 1, 0)  # type: ignore[no-any-return]

    # -- the buffer

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

    def do_clear(self, slot: int) -> int:
        self.m.set_d(slot, "len", 0)
        return 0

    # -- answers and counters

    def do_stat_set_size(self, memory: Any, size: Any) -> Num:
        self.m.emit("size", number(size))
        return 0

    # -- sleeping

    def do_in_a_row(self, request: Any) -> Num:
        """How often in a row this thread has asked for just this sleep, nothing in between; 0: unreadable."""
        assert self.call is not None
        return self.call["row"]  # type: ignore[no-any-return]

    def do_nap(self, request: Any, times: Any) -> Num:
        """The program's own sleep, cut to a short while that doubles with `times`."""
        assert self.call is not None
        self.once()
        cut = least(self.call["n"], 1)
        return perform(self.m, Call(self.call.name, words={**self.call.words, "n": cut}), self.oracle)

    def do_hit(self) -> int:
        self.m.hits = or_(self.m.hits, self.m.guard)
        return 0


FULL = 99
#: calls that give a new description
OPENS = ("openat", "accept4")
__all__ = ["CELLS", "INODES", "SHAPES", "dispatch", "kind_of", "pending", "settle", "settle_all"]

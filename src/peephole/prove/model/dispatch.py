"""The dispatcher: what happens to a call before it reaches the kernel, as core/runtime/dispatch.c does it.

The classes come from the same table that the C reads (core/runtime/calls.def).
"""

from __future__ import annotations

from typing import Any

from peephole.errors import RuleError
from peephole.prove.calls import call_table
from peephole.prove.functions import Function
from peephole.prove.language import RuleText
from peephole.prove.model import kernel
from peephole.prove.model.interpret import Descriptor, number, run_function
from peephole.prove.model.kernel import Call, perform
from peephole.prove.model.machine import DESCRIPTIONS, EPOLLS, Machine, Oracle
from peephole.prove.model.mechanisms import (
    Mechanisms,
    forget,
    forget_absent,
    forget_actions,
    forget_examined,
    forget_seen,
    may_wait,
    settle,
    settle_all,
    settle_owed,
)
from peephole.prove.model.terms import Bool, Num, and_, eq, ite, le, lt, not_, or_

#: calls that reach rules under another name
_REACHES = {"rename": "renameat", "stat": "newfstatat"}
#: calls of the alphabet that stand for others: which row of calls.def they take
_AS = {"opaque": "fallocate", "fork_child": "fork", "pipe2": "openat", "exec_begins": "execve"}


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


class _Dispatch:
    def __init__(self, m: Machine, rule: RuleText, call: Call, oracle: Oracle) -> None:
        self.m, self.rule, self.call, self.oracle = m, rule, call, oracle

    def run(self) -> Num:
        kind = kind_of(self.call.name)
        if "absent.0" in self.m.state:
            forget_absent(self.m, self.call, kind)
        if "known.0" in self.m.state:
            forget_examined(self.m, self.call, kind)
        if "seen.known" in self.m.state:
            forget_seen(self.m, self.call, kind)
        if "owed" in self.m.state:
            with self.m.under(not_(may_wait(self.m, self.call, kind))):
                settle_owed(self.m, self.rule)
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
            case "INERT" if self.call.slot >= 0:
                return self.inert()
            case "INERT":
                return self.on_process()
            case "WAIT" if self.handler():
                return self.on_process()
        if self.call.name == "close_epoll":
            return self.close_epoll()
        if not (self.rule.place and kind == "WAIT"):
            settle_all(self.m, self.rule)
        if kind == "CLOSES":
            for slot in range(DESCRIPTIONS):
                forget(self.m, self.rule, slot)
        if kind == "FORK":
            for slot in range(DESCRIPTIONS):
                self.take_away(slot)
        if self.call.name == "fork_child":
            for name, what in self.rule.process.items():
                self.m.set(f"p.f.{name}", False if what == "bool" else 0)
        if self.call.name == "exec_begins":
            forget_actions(self.m)
        return self.on_process()

    def inert(self) -> Num:
        """Settles nothing: the rule's handler, where it has state, or the kernel."""
        m, slot, handler = self.m, self.call.slot, self.handler()
        handled = and_(m.d(slot, "h"), handler is not None)
        answer: Num = 0
        with m.under(handled) as guard:
            if handler and guard is not False:
                left = self.error_of(slot)
                with m.under(eq(left, 0)):
                    answer = self.run_handler(handler)
                answer = ite(eq(left, 0), answer, left)
        with m.under(not_(handled)):
            passed = self.forward()
        return ite(handled, answer, passed)  # type: ignore[no-any-return]

    def on_process(self) -> Num:
        """A call that names no description: the rule's handler, or the kernel."""
        handler = self.handler()
        return self.run_handler(handler) if handler else self.forward()

    def close_epoll(self) -> Num:
        """Its number may mean another one from here on; the runtime sees it where it knows that this is an epoll."""
        m = self.m
        for q in range(EPOLLS):
            with m.under(and_(eq(self.call["epoll"], q), m.state[f"q{q}.asked"])):
                settle_all(m, self.rule)
                for slot in range(DESCRIPTIONS):
                    self.take_away(slot)
                m.set(f"q{q}.asked", False)
        return self.forward()

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
                    forget(m, self.rule, other)
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
        forget(m, self.rule, slot)
        odd: Bool = or_(not_(m.is_open(slot)), m.of_file(slot, "special"))
        if other >= 0:
            odd = or_(odd, not_(m.is_open(other)), m.of_file(other, "special"))
        with m.under(eq(r, 0)):
            with m.under(True if everything else and_(odd, not (self.rule.interest or self.rule.place))):
                settle_all(m, self.rule)
            passed = self.forward()
        return ite(eq(r, 0), passed, r)  # type: ignore[no-any-return]

    def run_handler(self, handler: Function) -> Num:
        words = self.arguments(handler)
        slot = self.call.slot if handler.has_state else None
        k = Mechanisms(self.m, self.rule, self.call, self.oracle, slot)
        return number(run_function(self.m, self.rule, handler, k, words, slot))

    def arguments(self, handler: Function) -> dict[str, Any]:
        """The handler's parameters, by position as in the system call."""
        shape = SHAPES[self.call.name]
        if len(handler.parameters) > len(shape):
            raise RuleError(f"{self.rule.path}:{handler.line}: {handler.name} has {len(shape)} arguments")
        return {name: _word(self.call, what) for (name, _), what in zip(handler.parameters, shape, strict=False)}

    def open(self) -> Num:
        m = self.m
        if not (self.rule.place or (self.rule.streams and self.call.name == "openat")):
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
            if self.rule.alone:
                with m.under(same):
                    self.settle_and_take(other)
        strange = or_(m.of_file(slot, "special"), not_(m.of_file(slot, "covered")))
        if self.rule.streams:
            strange = not_(m.is_stream(slot))
        if self.rule.pipes:
            strange = not_(m.is_pipe(slot))
        odd = or_(shared, strange) if self.rule.alone else strange
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
        if self.rule.sets_bits:  # each descriptor has its own
            settle(m, self.rule, self.call.slot)
            forget(m, self.rule, self.call.slot)
        if self.rule.interest:
            self.settle_and_take(self.call.slot)  # the new descriptor has places of its own
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
        # What ends stands nowhere, and leaves the interest lists by itself unless another process has it too.
        told: Bool = m.d(slot, "shared") if self.rule.interest else not self.rule.place
        with m.under(and_(last, told)):
            r = settle(m, self.rule, slot)
        handler = self.rule.handlers.get("close")
        passed = self.run_handler(handler) if handler else self.forward()
        with m.under(eq(m.d(slot, "refs"), 0)):
            self.take_away(slot)
        r = ite(lt(left, 0), left, ite(last, r, 0))
        return ite(lt(r, 0), r, passed)  # type: ignore[no-any-return]


#: what stands at each argument of a call that a rule may handle
SHAPES: dict[str, tuple[str, ...]] = {
    "openat": ("dir", "name", "flags", "mode"),
    "accept4": ("dir", "memory", "memory", "mode"),
    "socket": ("mode", "mode", "mode"),
    "pipe2": ("memory", "mode"),
    "epoll_wait": ("epoll", "memory", "mode", "mode"),
    "epoll_ctl": ("epoll", "op", "fd", "memory"),
    "write": ("fd", "data", "n"),
    "writev": ("fd", "data", "n"),
    "pwrite64": ("fd", "data", "n", "offset"),
    "read": ("fd", "good", "n"),
    "pread64": ("fd", "good", "n", "offset"),
    "lseek": ("fd", "offset", "whence"),
    "close": ("fd",),
    "fstat": ("fd", "memory"),
    "ftruncate": ("fd", "n"),
    "fsync": ("fd",),
    "fdatasync": ("fd",),
    "fcntl": ("fd", "command", "arg"),
    "ioctl": ("fd", "request", "other"),
    "flock": ("fd", "lock"),
    "rename": ("dir", "name", "dir", "to"),
    "unlink": ("name",),
    "stat": ("dir", "name", "memory", "zero"),
    "statx": ("dir", "name", "flags", "mode", "memory"),
    "getxattr": ("name", "attribute", "memory", "mode"),
    "lgetxattr": ("name", "attribute", "memory", "mode"),
    "nanosleep": ("n", "zero"),
    "clock_nanosleep": ("zero", "absolute", "n", "zero"),
    "rt_sigaction": ("signal", "act", "old", "bytes"),
    "sendfile": ("fd", "other", "memory", "n"),
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
        case "epoll":
            return call.words.get("epoll", 0)
        case "arg":
            return ite(eq(call["command"], kernel.F_SETFD), call.words.get("bits", 0), ite(call["append"], 1, 0))
        case "placed":
            return ite(call[what], 1, 0)
    return call[what]

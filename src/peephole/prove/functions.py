"""Checks the functions of a rule: that each statement lies inside the language (docs/rule-language.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from peephole.errors import RuleError
from peephole.prove.vocabulary import MECHANISMS, NUMBERS

UNROLL_MAX = 16

_BINARY = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.BitAnd: "&", ast.BitOr: "|"}
_COMPARE = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_PARAMETER_TYPES = ("num", "word", "fd", "flags", "path", "buf")
#: mechanisms that stand alone as those do that enter the kernel: they change what is kept, or the program's memory
_BY_THEMSELVES = ("append", "append_vector", "take", "copy_mapped", "file", "owe", "give_action")
#: functions of a rule that are no handlers
_SPECIAL = ("pending", "settle", "forget", "ready")


@dataclass(frozen=True)
class Function:
    """`pending`, `settle` or a handler: its parameters after `k`, `f` and `p`, in the system call's order."""

    name: str
    has_state: bool  # takes f
    has_process: bool  # takes p
    parameters: tuple[tuple[str, str], ...]  # (name, type)
    body: tuple[ast.stmt, ...]
    may_answer: bool  # some path returns without any kernel call
    line: int
    glances: bool = False  # it changes no state: what it receives at once may be answered without a lock

    @property
    def fd_arg(self) -> int:
        """Which argument is the descriptor whose state is `f`; -1 for calls without state."""
        if not self.has_state:
            return -1
        return [name for name, _ in self.parameters].index("fd")


class Text:
    """What functions may name, as far as the rule's text has been read, and what they have used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.constants: dict[str, int] = {}
        self.fields: dict[str, str] = {}
        self.process: dict[str, str] = {}
        self.buffer: tuple[str, int] | None = None
        self.model_only = False
        self.used: set[str] = set()

    def fail(self, node: ast.AST, what: str) -> NoReturn:
        """Raise RuleError, which points at the node."""
        raise RuleError(f"{self.path}:{getattr(node, 'lineno', 1)}: {what}")


def kernel_call(node: ast.expr) -> str | None:
    """The mechanism's name when this expression is a call that may enter the kernel."""
    name = mechanism(node)
    return name if name and (MECHANISMS[name].calls_kernel or name in _BY_THEMSELVES) else None


def mechanism(node: ast.expr) -> str | None:
    """The mechanism's name when this expression is a call of one: `k.NAME(...)`, `ok(...)`, `writable(...)`."""
    if not isinstance(node, ast.Call):
        return None
    if isinstance(node.func, ast.Name):
        return node.func.id if node.func.id in ("ok", "writable") else None
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.value.id == "k":
        return node.func.attr if node.func.attr in MECHANISMS else None
    return None


def read_function(text: Text, f: ast.FunctionDef) -> Function:
    """Check one function of a rule. Raises RuleError."""
    a = f.args
    if a.vararg or a.kwarg or a.defaults or a.kwonlyargs or a.posonlyargs or f.decorator_list:
        text.fail(f, "a function has plain parameters only")
    names = [p.arg for p in a.args]
    if not names or names[0] != "k":
        text.fail(f, "a function's first parameter is k")
    has_state = names[1:2] == ["f"]
    has_process = "p" in names[1:3]
    if has_process and (not text.process or names[1 + has_state] != "p"):
        text.fail(f, "p is the state of the process, a class with base PerProcess; it follows k, or k and f")
    parameters = []
    for p in a.args[1 + has_state + has_process :]:
        kind = ast.unparse(p.annotation) if p.annotation else ""
        if kind not in _PARAMETER_TYPES:
            text.fail(p, f"parameter {p.arg} needs one of the types {', '.join(_PARAMETER_TYPES)}")
        parameters.append((p.arg, kind))
    if has_state and ("fd", "fd") not in parameters:
        text.fail(f, "a handler with state f names its descriptor `fd: fd`")
    if len(parameters) > 6:
        text.fail(f, "a system call has at most six arguments")
    body = tuple(f.body)
    scope = _Scope(text, dict(parameters), has_state, f.name, has_process)
    if scope.block(body):
        text.fail(f, f"{f.name}: every path ends with return")
    answers = f.name not in _SPECIAL and any(_answering_paths(body))
    glances = has_state and not any(_changes_state(n) for s in body for n in ast.walk(s))
    return Function(f.name, has_state, has_process, tuple(parameters), body, answers, f.lineno, glances)


class _Scope:
    """Checks the statements of one function: types, definite assignment, that kernel calls stand alone."""

    def __init__(self, text: Text, names: dict[str, str], has_state: bool, function: str, has_process: bool) -> None:
        self.text, self.function, self.has_process = text, function, has_process
        self.types = dict(names)
        self.known = set(names)
        self.descriptors = {name for name, kind in names.items() if kind == "fd"}
        self.state = has_state  # whether f surely names a state here
        self.maybe_state = has_state

    def block(self, body: tuple[ast.stmt, ...] | list[ast.stmt]) -> bool:
        """Check a block; whether control may reach its end."""
        for i, s in enumerate(body):
            if not self.statement(s):
                if i + 1 < len(body):
                    self.text.fail(body[i + 1], "nothing reaches this statement")
                return False
        return True

    def statement(self, s: ast.stmt) -> bool:
        if isinstance(s, ast.Return):
            if s.value is None:
                self.text.fail(s, "return gives a value")
            self.right_hand(s.value)
            return False
        if isinstance(s, ast.If):
            return self.branch(s)
        if isinstance(s, ast.For):
            self.loop(s)
        elif isinstance(s, ast.Assign):
            self.assign(s)
        elif isinstance(s, ast.Expr) and isinstance(s.value, ast.Call):
            self.call(s.value, alone=True)
        elif not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)):
            self.text.fail(s, f"the language has no {type(s).__name__.lower()} statement")
        return True

    def branch(self, s: ast.If) -> bool:
        test = s.test
        tests_state = isinstance(test, ast.Name) and test.id == "f"
        tests_none = (
            isinstance(test, ast.UnaryOp)
            and isinstance(test.op, ast.Not)
            and isinstance(test.operand, ast.Name)
            and test.operand.id == "f"
        )
        if tests_state or tests_none:
            if not self.maybe_state:
                self.text.fail(s, "f is not known here")
        else:
            self.expression(test)
        before, had = set(self.known), self.state
        self.state = had or tests_state
        through_then = self.block(s.body)
        after_then, state_then = self.known, self.state
        self.known, self.state = set(before), had or tests_none
        through_else = self.block(s.orelse)
        if not through_then:
            return through_else
        if through_else:
            self.known &= after_then
            self.state = self.state and state_then
        else:
            self.known, self.state = after_then, state_then
        return True

    def loop(self, s: ast.For) -> None:
        bounds = s.iter.args if isinstance(s.iter, ast.Call) and ast.unparse(s.iter.func) == "range" else []
        values = [b.value for b in bounds if isinstance(b, ast.Constant) and type(b.value) is int]
        if (
            not isinstance(s.target, ast.Name)
            or s.orelse
            or not values
            or len(values) != len(bounds)
            or len(values) > 2
        ):
            self.text.fail(s, "a loop is written `for NAME in range(CONSTANT)`")
        if len(range(*values)) > UNROLL_MAX:
            self.text.fail(s, f"a loop runs at most {UNROLL_MAX} times")
        before = set(self.known)
        self.types[s.target.id] = "num"
        self.known.add(s.target.id)
        self.block(s.body)
        self.known = before

    def assign(self, s: ast.Assign) -> None:
        if len(s.targets) != 1:
            self.text.fail(s, "one target an assignment")
        target = s.targets[0]
        kind = self.right_hand(s.value)
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id in ("f", "p"):
            self.field(target)
        elif isinstance(target, ast.Name):
            if (target.id == "f") != (kind == "state"):
                self.text.fail(s, "`f = k.file(fd)` and nothing else gives f")
            if target.id == "f":
                self.maybe_state, self.state = True, False
                return
            if (
                target.id == "k"
                or (target.id == "p" and self.text.process)
                or target.id in NUMBERS
                or target.id in self.text.constants
            ):
                self.text.fail(s, f"{target.id} can't be assigned")
            if self.types.setdefault(target.id, kind) != kind and "bool" in (kind, self.types[target.id]):
                self.text.fail(s, f"{target.id} is {self.types[target.id]}, not {kind}")
            self.known.add(target.id)
            # What an open gives may be named as a descriptor.
            made = mechanism(s.value) in ("openat", "forward")
            self.descriptors = self.descriptors | {target.id} if made else self.descriptors - {target.id}
        else:
            self.text.fail(s, "a name or a field of f or p can be assigned, nothing else")

    def right_hand(self, e: ast.expr) -> str:
        return self.call(e, alone=True) if isinstance(e, ast.Call) else self.expression(e)

    def field(self, e: ast.Attribute) -> str:
        if isinstance(e.value, ast.Name) and e.value.id == "p":
            if not self.has_process:
                self.text.fail(e, "p is not a parameter of this function")
            if e.attr not in self.text.process:
                self.text.fail(e, f"the state of the process has no field {e.attr}")
            return self.text.process[e.attr]
        if not self.state:
            self.text.fail(e, "f may be absent here: test it first, `if f:` or `if not f:`")
        if e.attr not in self.text.fields:
            self.text.fail(e, f"the state has no field {e.attr}")
        return self.text.fields[e.attr]

    def expression(self, e: ast.expr) -> str:
        if isinstance(e, ast.Constant):
            if type(e.value) is bool:
                return "bool"
            if type(e.value) is int and abs(e.value) < 1 << 31:
                return "num"
        elif isinstance(e, ast.Name):
            return self.name(e)
        elif isinstance(e, ast.Attribute) and isinstance(e.value, ast.Name) and e.value.id in ("f", "p"):
            return self.field(e)
        elif isinstance(e, ast.BoolOp):
            for v in e.values:
                self.expression(v)
            return "bool"
        elif isinstance(e, ast.UnaryOp) and isinstance(e.op, ast.Not | ast.USub | ast.Invert):
            kind = self.expression(e.operand)
            return "bool" if isinstance(e.op, ast.Not) else kind
        elif isinstance(e, ast.BinOp) and type(e.op) in _BINARY:
            kinds = {self.expression(e.left), self.expression(e.right)}
            return "flags" if "flags" in kinds else "num"
        elif isinstance(e, ast.Compare) and len(e.ops) == 1 and type(e.ops[0]) in _COMPARE:
            self.expression(e.left)
            self.expression(e.comparators[0])
            return "bool"
        elif isinstance(e, ast.Call):
            return self.call(e, alone=False)
        self.text.fail(e, f"the language has no expression `{ast.unparse(e)}`")

    def name(self, e: ast.Name) -> str:
        if e.id in self.text.constants:
            return "num"
        if e.id in NUMBERS:
            return "flags" if NUMBERS[e.id].kind == "flag" else "num"
        if e.id not in self.types:
            self.text.fail(e, f"{e.id} is not a name of the language, a parameter or a variable")
        if e.id not in self.known:
            self.text.fail(e, f"{e.id} may not have been assigned on some path to here")
        return self.types[e.id]

    def call(self, e: ast.expr, alone: bool) -> str:
        name = mechanism(e)
        if name is None or not isinstance(e, ast.Call):
            self.text.fail(e, f"`{ast.unparse(e)}` is not a call of a mechanism (docs/rule-language.md lists them)")
        m = MECHANISMS[name]
        self.text.used.add(name)
        if not m.c:
            self.text.model_only = True
        if e.keywords or len(e.args) != len(m.takes):
            self.text.fail(e, f"{name} takes {len(m.takes)} arguments")
        if kernel_call(e) and not alone:
            self.text.fail(e, f"k.{name} calls the kernel: it stands as a statement or alone on the right of `=`")
        if kernel_call(e) and self.function in ("pending", "forget", "ready"):
            self.text.fail(e, f"{self.function} makes no kernel call")
        for argument, wanted in zip(e.args, m.takes, strict=True):
            if wanted == "state":
                if ast.unparse(argument) != "f" or not self.state:
                    self.text.fail(e, f"{name} takes f, tested before where it may be absent")
                if self.text.buffer is None:
                    self.text.fail(e, "the state has no buffer")
            else:
                self.expression(argument)
                if wanted == "fd" and name != "openat" and ast.unparse(argument) not in self.descriptors:
                    self.text.fail(e, f"{name} takes a descriptor: a parameter of type fd, or what an open gave")
        return "state" if m.gives == "state" else m.gives


def _changes_state(node: ast.AST) -> bool:
    """Whether a node assigns a field, or asks for more than to forward, to receive and to settle."""
    if isinstance(node, ast.Assign):
        return isinstance(node.targets[0], ast.Attribute)
    return isinstance(node, ast.Call) and mechanism(node) not in ("forward", "receive", "settle", "settle_all", "ok")


def _answering_paths(body: tuple[ast.stmt, ...] | list[ast.stmt]) -> Iterator[bool]:
    """True for each return that some path without a kernel call reaches."""

    def enters(e: ast.expr | None) -> bool:
        name = mechanism(e) if e is not None else None
        return bool(name and MECHANISMS[name].calls_kernel)

    def walk(stmts: list[ast.stmt]) -> Iterator[bool | None]:
        # Yields True for an answering return; yields None once at the end when the end is reached without a call.
        for i, s in enumerate(stmts):
            if isinstance(s, ast.Return):
                if not enters(s.value):
                    yield True
                return
            if isinstance(s, ast.Assign | ast.Expr) and enters(s.value):
                return
            if isinstance(s, ast.If | ast.For):
                rest = stmts[i + 1 :]
                arms = [s.body, s.orelse] if isinstance(s, ast.If) else [s.body, []]
                for arm in arms:
                    yield from walk([*arm, *rest])
                return
        yield None

    return (True for found in walk(list(body)) if found)

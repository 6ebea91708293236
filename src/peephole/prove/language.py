"""Reads a rule's text and checks that it lies inside the language (docs/rule-language.md).

A rule is never run by Python. What comes out is the checked syntax tree, which `emit` turns into C and
`model.interpret` into terms, by the same walk over the same nodes. Only the standard library is used: the build
runs this.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from peephole.errors import RuleError
from peephole.prove import change
from peephole.prove.vocabulary import GUARANTEES, MECHANISMS, NUMBERS, PROFILES

RULES = Path(__file__).resolve().parent.parent / "rules"
BUFFER_MAX = 65536
STATE_MAX = 128
UNROLL_MAX = 16

_BINARY = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.BitAnd: "&", ast.BitOr: "|"}
_COMPARE = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_BASES = ("PerOpenFile", "PerPlace", "PerStream", "PerInterest", "PerPipe", "PerProcess")
_PARAMETER_TYPES = ("num", "word", "fd", "flags", "path", "buf")


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


@dataclass(frozen=True)
class RuleText:
    """One checked rule."""

    name: str
    path: Path
    title: str  # first line of the docstring
    doc: str
    digest: str
    relaxes: frozenset[str]
    relaxes_on: dict[str, frozenset[str]]
    constants: dict[str, int]
    fields: dict[str, str]  # of an open file description: name -> num | bool
    process: dict[str, str]  # of the process
    buffer: tuple[str, int] | None  # name, capacity
    pending: Function
    settle: Function
    handlers: dict[str, Function] = field(default_factory=dict)
    per_file: bool = True  # has state of open files, or of streams
    streams: bool = False  # that state is of connected stream sockets
    alone: bool = True  # it goes when this process has the file open elsewhere, or mapped
    model_only: bool = False  # uses a mechanism that has no C: refuted neighbours only
    mechanisms: frozenset[str] = frozenset()  # that its text uses
    interest: bool = False  # that state is of a socket's place in the interest list of an epoll
    forget: Function | None = None  # what is remembered of a description may be wrong from here on
    pipes: bool = False  # that state is of pipes' read ends
    ready: Function | None = None  # which epoll is known to have an event of it
    place: bool = False  # what is pending is only where a description stands

    @property
    def about_files(self) -> bool:
        """Whether it deals with files: it has state of open ones, or no state at all and other calls than sleeps."""
        return self.per_file or not (self.process or self.about_sleep or self.about_actions)

    @property
    def about_sleep(self) -> bool:
        """Whether it deals with sleeps."""
        return bool(self.handlers.keys() & {"nanosleep", "clock_nanosleep"})

    @property
    def about_actions(self) -> bool:
        """Whether it deals with the actions of signals."""
        return "rt_sigaction" in self.handlers

    @property
    def sets_bits(self) -> bool:
        """Whether it keeps back what becomes of a descriptor's bits."""
        return "setfd" in self.mechanisms

    @property
    def scales(self) -> bool:
        """Whether its constants are compared with counts of bytes, which the model scales to cells."""
        return self.buffer is not None or "copy_mapped" in self.mechanisms

    @property
    def remembers(self) -> bool:
        """Whether it answers from what it was told before, which others may have changed since."""
        return bool(self.mechanisms & {"take", "copy_mapped", "absent", "examined", "lacked"})

    def given_up(self, profile: str) -> frozenset[str]:
        """What the rule says it gives up on file systems of this crash profile."""
        return self.relaxes | self.relaxes_on.get(profile, frozenset())


def rule_names() -> list[str]:
    """The rules that come with Peephole, in the order of their layers: the first is nearest to the program."""
    return sorted(p.parent.name for p in RULES.glob("*/rule.py"))


def rule_path(name_or_path: str | Path) -> Path:
    """The text of a rule: by name, by its folder, or by its file. Raises RuleError when there is none.

    A name means the rule that comes with Peephole, whatever lies in the working folder.
    """
    own = (Path(name_or_path), Path(name_or_path) / "rule.py")
    shipped = RULES / str(name_or_path) / "rule.py"
    for candidate in own if "/" in str(name_or_path) else (shipped, *own):
        if candidate.is_file():
            return candidate
    raise RuleError(f"no rule {name_or_path}; `peephole rules` lists them")


def load_rule(name_or_path: str | Path) -> RuleText:
    """Read and check one rule. Raises RuleError, which points at file:line, when it is outside the language."""
    path = rule_path(name_or_path)
    if path.suffix == change.SUFFIX:
        text, doc = change.apply((path.parent.parent / "rule.py").read_text(encoding="utf-8"), path)
        return replace(parse_rule(text.encode(), path, path.stem), title=doc.partition("\n")[0], doc=doc)
    return parse_rule(path.read_bytes(), path, path.parent.name if path.name == "rule.py" else path.stem)


def neighbours_of(rule: RuleText) -> dict[str, Path]:
    """The wrong neighbours of a rule by their names: each is a change to it, or a whole text."""
    places = sorted((rule.path.parent / "refuted").glob("*")) if rule.path.name == "rule.py" else []
    return {p.stem: p for p in places if p.suffix in (change.SUFFIX, ".py")}


def parse_rule(source: bytes, path: Path, name: str) -> RuleText:
    """Check a rule's text; `path` is for messages."""
    return _Reader(source, path, name).rule()


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


#: mechanisms that stand alone as those do that enter the kernel: they change what is kept, or the program's memory
_BY_THEMSELVES = ("append", "append_vector", "take", "copy_mapped", "file", "owe", "give_action")
#: functions of a rule that are no handlers
_SPECIAL = ("pending", "settle", "forget", "ready")

#: What a rule without state of open files has in their place.
_NOTHING_PENDING = [
    s
    for s in ast.parse("def pending(k, f, fd: fd):\n    return False\ndef settle(k, f, fd: fd):\n    return 0\n").body
    if isinstance(s, ast.FunctionDef)
]


class _Reader:
    def __init__(self, source: bytes, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.digest = hashlib.sha256(source).hexdigest()
        self.constants: dict[str, int] = {}
        self.fields: dict[str, str] = {}
        self.process: dict[str, str] = {}
        self.per_file = self.streams = self.interest = self.pipes = self.place = False
        self.alone = True
        self.buffer: tuple[str, int] | None = None
        self.model_only = False
        self.used: set[str] = set()
        try:
            self.tree = ast.parse(source, filename=str(path))
        except SyntaxError as e:
            raise RuleError(f"{path}:{e.lineno}: {e.msg}") from None

    def fail(self, node: ast.AST, what: str) -> NoReturn:
        raise RuleError(f"{self.path}:{getattr(node, 'lineno', 1)}: {what}")

    # -- the class ----------------------------------------------------------------------------------------

    def rule(self) -> RuleText:
        classes = [self._top(s) for s in self.tree.body]
        found = [c for c in classes if c is not None]
        if len(found) != 1:
            raise RuleError(f"{self.path}:1: a rule's file holds one class with base Rule, this one has {len(found)}")
        return self._class(found[0])

    def _top(self, s: ast.stmt) -> ast.ClassDef | None:
        if isinstance(s, ast.ClassDef) and [ast.unparse(b) for b in s.bases] == ["Rule"]:
            return s
        if isinstance(s, ast.ImportFrom) and s.module == "peephole.prove.vocabulary":
            return None
        if isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant):
            return None
        if isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Name) and isinstance(s.value, ast.Constant):
            name, value = s.targets[0].id, s.value.value
            if type(value) is not int or value < 0:
                self.fail(s, f"{name}: a rule's constants are integers, 0 or more")
            self.constants[name] = value
            return None
        self.fail(s, "a rule's file holds a docstring, imports from peephole.prove.vocabulary, integers and one class")

    def _class(self, c: ast.ClassDef) -> RuleText:
        relaxes: frozenset[str] = frozenset()
        relaxes_on: dict[str, frozenset[str]] = {}
        functions: list[ast.FunctionDef] = []
        for s in c.body:
            if isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant):
                continue
            if isinstance(s, ast.ClassDef):
                self._state(s)
            elif isinstance(s, ast.FunctionDef):
                functions.append(s)
            elif isinstance(s, ast.Assign) and len(s.targets) == 1 and isinstance(s.targets[0], ast.Name):
                target = s.targets[0].id
                if target == "relaxes":
                    relaxes = self._guarantees(s.value)
                elif target == "relaxes_on":
                    relaxes_on = self._by_profile(s.value)
                elif target == "alone" and ast.unparse(s.value) == "False":
                    self.alone = False
                else:
                    self.fail(s, f"{target}: a rule's class has no such member; its constants stand above it")
            else:
                self.fail(s, "a rule's class holds relaxes, relaxes_on, one class of state and functions")
        read = {f.name: self._function(f) for f in functions}
        if len(read) != len(functions):
            self.fail(c, "two functions have the same name")
        if not self.per_file:
            if not self.process and not read:
                self.fail(c, "a rule has a handler")
            if "pending" in read or "settle" in read:
                self.fail(c, "pending and settle belong to the state of open files; this rule has none")
            read |= {f.name: self._function(f) for f in _NOTHING_PENDING}
        for needed in ("pending", "settle"):
            if needed not in read or not read[needed].has_state or read[needed].parameters != (("fd", "fd"),):
                self.fail(c, f"a rule defines {needed}(k, f, fd: fd)")
        if not self.alone and "alone" in self.used:
            self.fail(c, "a rule with alone = False can't ask k.alone")
        doc = ast.get_docstring(c) or self.fail(c, "a rule has a docstring: it is the rule's page")
        pending, settle = read.pop("pending"), read.pop("settle")
        forget, ready = (self._optional(read.pop(name, None)) for name in ("forget", "ready"))
        if ready and (not self.interest or "tag" not in self.fields):
            self.fail(c, "ready belongs to state with base PerInterest that has a field tag")
        return RuleText(
            self.name, self.path, doc.splitlines()[0], doc, self.digest, relaxes, relaxes_on, self.constants,
            self.fields, self.process, self.buffer, pending, settle, read, self.per_file, self.streams,
            self.alone, self.model_only, frozenset(self.used), self.interest, forget, self.pipes, ready, self.place,
        )  # fmt: skip

    def _optional(self, f: Function | None) -> Function | None:
        if f and (not f.has_state or f.parameters != (("fd", "fd"),)):
            raise RuleError(f"{self.path}:{f.line}: it is written {f.name}(k, f, fd: fd)")
        return f

    def _guarantees(self, node: ast.expr) -> frozenset[str]:
        if isinstance(node, ast.Call) and ast.unparse(node) == "set()":
            return frozenset()
        if not isinstance(node, ast.Set):
            self.fail(node, "relaxes is a set of guarantees, written {VISIBILITY, ...}, or set()")
        names = frozenset(ast.unparse(e).lower().replace("_", "-") for e in node.elts)
        for name in names:
            if name not in GUARANTEES:
                self.fail(node, f"{name} is not a guarantee; the list is closed: {', '.join(GUARANTEES)}")
            if name in ("contents", "results"):
                self.fail(node, f"{name} can't be given up")
        return names

    def _by_profile(self, node: ast.expr) -> dict[str, frozenset[str]]:
        if not isinstance(node, ast.Dict):
            self.fail(node, "relaxes_on is a dict from profiles to sets of guarantees")
        out: dict[str, frozenset[str]] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            profile = ast.unparse(key).lower().replace("_", "-") if key else ""
            if profile not in PROFILES:
                self.fail(node, f"{profile} is not a profile; there are {', '.join(PROFILES)}")
            out[profile] = self._guarantees(value)
        return out

    def _state(self, c: ast.ClassDef) -> None:
        bases = [ast.unparse(b) for b in c.bases]
        if bases not in ([name] for name in _BASES):
            known = f"{', '.join(_BASES[:-1])} or {_BASES[-1]}"
            self.fail(c, f"a class of a rule's state has the base {known}")
        per_file = bases != ["PerProcess"]
        self.interest = self.interest or bases == ["PerInterest"]
        self.place = self.place or bases == ["PerPlace"]
        self.pipes = self.pipes or bases == ["PerPipe"]
        self.streams = self.streams or self.interest or bases == ["PerStream"]
        fields = self.fields if per_file else self.process
        if fields or (per_file and self.per_file):
            self.fail(c, f"a rule has at most one class with base {bases[0]}")
        self.per_file = self.per_file or per_file
        for s in c.body:
            if isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant):
                continue
            if not isinstance(s, ast.AnnAssign) or not isinstance(s.target, ast.Name) or s.value is not None:
                self.fail(s, "state holds fields, written `name: num`, `name: bool` or `name: buffer[N]`")
            name, kind = s.target.id, s.annotation
            if isinstance(kind, ast.Subscript) and ast.unparse(kind.value) == "buffer":
                size = kind.slice.value if isinstance(kind.slice, ast.Constant) else None
                if not per_file or self.buffer or not isinstance(size, int) or not 0 < size <= BUFFER_MAX:
                    self.fail(s, f"state of an open file may hold one buffer[N], N from 1 to {BUFFER_MAX}")
                self.buffer = (name, size)
            elif isinstance(kind, ast.Name) and kind.id in ("num", "bool"):
                fields[name] = kind.id
            else:
                self.fail(s, "a field is num, bool or buffer[N]")
        if 8 + 8 * len(fields) > STATE_MAX:
            self.fail(c, f"state is at most {STATE_MAX} bytes: {(STATE_MAX - 8) // 8} fields")

    # -- functions ----------------------------------------------------------------------------------------

    def _function(self, f: ast.FunctionDef) -> Function:
        a = f.args
        if a.vararg or a.kwarg or a.defaults or a.kwonlyargs or a.posonlyargs or f.decorator_list:
            self.fail(f, "a function has plain parameters only")
        names = [p.arg for p in a.args]
        if not names or names[0] != "k":
            self.fail(f, "a function's first parameter is k")
        has_state = names[1:2] == ["f"]
        has_process = "p" in names[1:3]
        if has_process and (not self.process or names[1 + has_state] != "p"):
            self.fail(f, "p is the state of the process, a class with base PerProcess; it follows k, or k and f")
        parameters = []
        for p in a.args[1 + has_state + has_process :]:
            kind = ast.unparse(p.annotation) if p.annotation else ""
            if kind not in _PARAMETER_TYPES:
                self.fail(p, f"parameter {p.arg} needs one of the types {', '.join(_PARAMETER_TYPES)}")
            parameters.append((p.arg, kind))
        if has_state and ("fd", "fd") not in parameters:
            self.fail(f, "a handler with state f names its descriptor `fd: fd`")
        if len(parameters) > 6:
            self.fail(f, "a system call has at most six arguments")
        body = tuple(f.body)
        scope = _Scope(self, dict(parameters), has_state, f.name, has_process)
        if scope.block(body):
            self.fail(f, f"{f.name}: every path ends with return")
        answers = f.name not in _SPECIAL and any(_answering_paths(body))
        glances = has_state and not any(_changes_state(n) for s in body for n in ast.walk(s))
        return Function(f.name, has_state, has_process, tuple(parameters), body, answers, f.lineno, glances)


class _Scope:
    """Checks the statements of one function: types, definite assignment, that kernel calls stand alone."""

    def __init__(
        self, reader: _Reader, names: dict[str, str], has_state: bool, function: str, has_process: bool
    ) -> None:
        self.r, self.function, self.has_process = reader, function, has_process
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
                    self.r.fail(body[i + 1], "nothing reaches this statement")
                return False
        return True

    def statement(self, s: ast.stmt) -> bool:
        if isinstance(s, ast.Return):
            if s.value is None:
                self.r.fail(s, "return gives a value")
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
            self.r.fail(s, f"the language has no {type(s).__name__.lower()} statement")
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
                self.r.fail(s, "f is not known here")
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
            self.r.fail(s, "a loop is written `for NAME in range(CONSTANT)`")
        if len(range(*values)) > UNROLL_MAX:
            self.r.fail(s, f"a loop runs at most {UNROLL_MAX} times")
        before = set(self.known)
        self.types[s.target.id] = "num"
        self.known.add(s.target.id)
        self.block(s.body)
        self.known = before

    def assign(self, s: ast.Assign) -> None:
        if len(s.targets) != 1:
            self.r.fail(s, "one target an assignment")
        target = s.targets[0]
        kind = self.right_hand(s.value)
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id in ("f", "p"):
            self.field(target)
        elif isinstance(target, ast.Name):
            if (target.id == "f") != (kind == "state"):
                self.r.fail(s, "`f = k.file(fd)` and nothing else gives f")
            if target.id == "f":
                self.maybe_state, self.state = True, False
                return
            if (
                target.id == "k"
                or (target.id == "p" and self.r.process)
                or target.id in NUMBERS
                or target.id in self.r.constants
            ):
                self.r.fail(s, f"{target.id} can't be assigned")
            if self.types.setdefault(target.id, kind) != kind and "bool" in (kind, self.types[target.id]):
                self.r.fail(s, f"{target.id} is {self.types[target.id]}, not {kind}")
            self.known.add(target.id)
            # What an open gives may be named as a descriptor.
            made = mechanism(s.value) in ("openat", "forward")
            self.descriptors = self.descriptors | {target.id} if made else self.descriptors - {target.id}
        else:
            self.r.fail(s, "a name or a field of f or p can be assigned, nothing else")

    def right_hand(self, e: ast.expr) -> str:
        return self.call(e, alone=True) if isinstance(e, ast.Call) else self.expression(e)

    def field(self, e: ast.Attribute) -> str:
        if isinstance(e.value, ast.Name) and e.value.id == "p":
            if not self.has_process:
                self.r.fail(e, "p is not a parameter of this function")
            if e.attr not in self.r.process:
                self.r.fail(e, f"the state of the process has no field {e.attr}")
            return self.r.process[e.attr]
        if not self.state:
            self.r.fail(e, "f may be absent here: test it first, `if f:` or `if not f:`")
        if e.attr not in self.r.fields:
            self.r.fail(e, f"the state has no field {e.attr}")
        return self.r.fields[e.attr]

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
        self.r.fail(e, f"the language has no expression `{ast.unparse(e)}`")

    def name(self, e: ast.Name) -> str:
        if e.id in self.r.constants:
            return "num"
        if e.id in NUMBERS:
            return "flags" if NUMBERS[e.id].kind == "flag" else "num"
        if e.id not in self.types:
            self.r.fail(e, f"{e.id} is not a name of the language, a parameter or a variable")
        if e.id not in self.known:
            self.r.fail(e, f"{e.id} may not have been assigned on some path to here")
        return self.types[e.id]

    def call(self, e: ast.expr, alone: bool) -> str:
        name = mechanism(e)
        if name is None or not isinstance(e, ast.Call):
            self.r.fail(e, f"`{ast.unparse(e)}` is not a call of a mechanism (docs/rule-language.md lists them)")
        m = MECHANISMS[name]
        self.r.used.add(name)
        if not m.c:
            self.r.model_only = True
        if e.keywords or len(e.args) != len(m.takes):
            self.r.fail(e, f"{name} takes {len(m.takes)} arguments")
        if kernel_call(e) and not alone:
            self.r.fail(e, f"k.{name} calls the kernel: it stands as a statement or alone on the right of `=`")
        if kernel_call(e) and self.function in ("pending", "forget", "ready"):
            self.r.fail(e, f"{self.function} makes no kernel call")
        for argument, wanted in zip(e.args, m.takes, strict=True):
            if wanted == "state":
                if ast.unparse(argument) != "f" or not self.state:
                    self.r.fail(e, f"{name} takes f, tested before where it may be absent")
                if self.r.buffer is None:
                    self.r.fail(e, "the state has no buffer")
            else:
                self.expression(argument)
                if wanted == "fd" and name != "openat" and ast.unparse(argument) not in self.descriptors:
                    self.r.fail(e, f"{name} takes a descriptor: a parameter of type fd, or what an open gave")
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

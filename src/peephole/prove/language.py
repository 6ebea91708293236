"""Reads a rule's text and checks that it lies inside the language (docs/rule-language.md).

A rule is never run by Python. What comes out is the checked syntax tree, which `emit` turns into C and
`model.interpret` into terms, by the same walk over the same nodes. Only the standard library is used: the build
runs this.
"""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

from peephole.errors import RuleError
from peephole.files import read_plain
from peephole.prove import change
from peephole.prove.functions import Function, Text, read_function
from peephole.prove.vocabulary import GUARANTEES, PROFILES

RULES = Path(__file__).resolve().parent.parent / "rules"
BUFFER_MAX = 65536
STATE_MAX = 128

_BASES = ("PerOpenFile", "PerPlace", "PerStream", "PerInterest", "PerPipe", "PerProcess")


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
    return parse_rule(read_plain(path), path, path.parent.name if path.name == "rule.py" else path.stem)


def neighbours_of(rule: RuleText) -> dict[str, Path]:
    """The wrong neighbours of a rule by their names: each is a change to it, or a whole text."""
    places = sorted((rule.path.parent / "refuted").glob("*")) if rule.path.name == "rule.py" else []
    return {p.stem: p for p in places if p.suffix in (change.SUFFIX, ".py")}


def parse_rule(source: bytes, path: Path, name: str) -> RuleText:
    """Check a rule's text; `path` is for messages."""
    return _Reader(source, path, name).rule()


#: What a rule without state of open files has in their place.
_NOTHING_PENDING = [
    s
    for s in ast.parse("def pending(k, f, fd: fd):\n    return False\ndef settle(k, f, fd: fd):\n    return 0\n").body
    if isinstance(s, ast.FunctionDef)
]


class _Reader(Text):
    def __init__(self, source: bytes, path: Path, name: str) -> None:
        super().__init__(path)
        self.name = name
        self.digest = hashlib.sha256(source).hexdigest()
        self.per_file = self.streams = self.interest = self.pipes = self.place = False
        self.alone = True
        try:
            self.tree = ast.parse(source, filename=str(path))
        except SyntaxError as e:
            raise RuleError(f"{path}:{e.lineno}: {e.msg}") from None

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
        read = {f.name: read_function(self, f) for f in functions}
        if len(read) != len(functions):
            self.fail(c, "two functions have the same name")
        if not self.per_file:
            if not self.process and not read:
                self.fail(c, "a rule has a handler")
            if "pending" in read or "settle" in read:
                self.fail(c, "pending and settle belong to the state of open files; this rule has none")
            read |= {f.name: read_function(self, f) for f in _NOTHING_PENDING}
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

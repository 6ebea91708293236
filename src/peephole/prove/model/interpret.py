"""Runs a rule's function on the machine: the same walk over the same tree as `emit`, with terms in place of C.

Each block runs once, under a guard; an early return is a flag. So the terms grow with the text, not with its paths.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any, Protocol

from peephole.prove.functions import Function, mechanism
from peephole.prove.language import RuleText
from peephole.prove.model.kernel import Flags
from peephole.prove.model.machine import Machine
from peephole.prove.model.terms import Bool, Num, Term, add, and_, eq, implies, ite, le, lt, not_, or_, sub
from peephole.prove.vocabulary import NUMBERS


@dataclass(frozen=True)
class Descriptor:
    """A descriptor whose description has a fixed slot; `value` is what the program sees, maybe an error."""

    slot: int
    value: Num


class Mechanisms(Protocol):
    """What a rule may ask for by `k.NAME(...)`; the dispatcher's model gives it."""

    def __call__(self, name: str, arguments: list[Any]) -> Any: ...


@dataclass
class _Frame:
    values: dict[str, Any]
    returned: Bool = False
    result: Any = 0
    state: int | None = None  # slot of f
    state_given: Bool = True
    k: Mechanisms | None = None
    local: dict[str, Any] = field(default_factory=dict)


def run_function(
    m: Machine, rule: RuleText, f: Function, k: Mechanisms, arguments: dict[str, Any], slot: int | None
) -> Any:
    """Run one function of the rule under the machine's guard; gives what it returns."""
    frame = _Frame(dict(arguments), state=slot, k=k)
    _Interpreter(m, rule, frame).block(list(f.body))
    return frame.result


def number(value: Any) -> Num:
    """The number of a value: a truth value counts as 0 or 1."""
    if isinstance(value, Descriptor):
        return value.value
    if isinstance(value, bool) or (isinstance(value, Term) and value.op in ("bool", "not", "and", "eq", "lt", "bite")):
        return ite(value, 1, 0)  # type: ignore[no-any-return]
    assert isinstance(value, int | Term), value
    return value


def truth(value: Any) -> Bool:
    """Whether a value is not 0."""
    if isinstance(value, bool):
        return value
    if isinstance(value, Flags):
        return value.any()
    if isinstance(value, Term) and value.op in ("bool", "not", "and", "eq", "lt", "bite"):
        return value
    return not_(eq(number(value), 0))


class _Interpreter:
    def __init__(self, m: Machine, rule: RuleText, frame: _Frame) -> None:
        self.m, self.rule, self.frame = m, rule, frame

    def block(self, body: list[ast.stmt]) -> None:
        for s in body:
            with self.m.under(not_(self.frame.returned)) as guard:
                if guard is False:
                    return
                self.statement(s)

    def statement(self, s: ast.stmt) -> None:
        if isinstance(s, ast.Return):
            assert s.value is not None
            value = self.value(s.value)
            value = value if isinstance(value, Flags) else self._plain(value)
            self.frame.result = ite(self.m.guard, value, self.frame.result)
            self.frame.returned = or_(self.frame.returned, self.m.guard)
        elif isinstance(s, ast.If):
            condition = self.condition(s.test)
            with self.m.under(condition) as guard:
                if guard is not False:
                    self.block(s.body)
            with self.m.under(not_(condition)) as guard:
                if guard is not False:
                    self.block(s.orelse)
        elif isinstance(s, ast.For):
            self.loop(s)
        elif isinstance(s, ast.Assign):
            self.assign(s)
        elif isinstance(s, ast.Expr) and isinstance(s.value, ast.Call):
            self.value(s.value)

    def condition(self, test: ast.expr) -> Bool:
        if isinstance(test, ast.Name) and test.id == "f":
            return self.frame.state_given
        if isinstance(test, ast.UnaryOp) and isinstance(test.operand, ast.Name) and test.operand.id == "f":
            return not_(self.frame.state_given)
        return truth(self.value(test))

    def loop(self, s: ast.For) -> None:
        assert isinstance(s.target, ast.Name) and isinstance(s.iter, ast.Call)
        bounds = [b.value for b in s.iter.args if isinstance(b, ast.Constant) and isinstance(b.value, int)]
        for i in range(*bounds):
            self.frame.values[s.target.id] = i
            self.block(s.body)

    def assign(self, s: ast.Assign) -> None:
        target, value = s.targets[0], self.value(s.value)
        if isinstance(target, ast.Attribute):
            key, kind = self.field(target)
            self.m.set(key, truth(value) if kind == "bool" else number(value))
            return
        assert isinstance(target, ast.Name)
        if target.id == "f":
            self.frame.state, self.frame.state_given = value
            return
        old = self.frame.values.get(target.id)
        if isinstance(value, Descriptor):
            if isinstance(old, Descriptor):
                value = Descriptor(value.slot, ite(self.m.guard, value.value, old.value))
        elif isinstance(old, int | Term) and not isinstance(value, Flags):
            value = ite(self.m.guard, self._plain(value), self._plain(old))
        self.frame.values[target.id] = value

    def field(self, e: ast.Attribute) -> tuple[str, str]:
        """The key and the kind of a field of f or of p."""
        if ast.unparse(e.value) == "p":
            return f"p.f.{e.attr}", self.rule.process[e.attr]
        return f"d{self.frame.state}.f.{e.attr}", self.rule.fields[e.attr]

    def _plain(self, value: Any) -> Any:
        return number(value)

    def value(self, e: ast.expr) -> Any:
        if isinstance(e, ast.Constant):
            return e.value
        if isinstance(e, ast.Name):
            return self.name(e.id)
        if isinstance(e, ast.Attribute):
            return self.m.state[self.field(e)[0]]
        if isinstance(e, ast.BoolOp):
            return self.connected(e)
        if isinstance(e, ast.UnaryOp):
            return self.unary(e)
        if isinstance(e, ast.BinOp):
            return self.binary(e)
        if isinstance(e, ast.Compare):
            return self.compare(e)
        assert isinstance(e, ast.Call)
        return self.call(e)

    def connected(self, e: ast.BoolOp) -> Bool:
        """`and` and `or`: what stands behind is asked only where what stands before has not decided."""
        both = isinstance(e.op, ast.And)
        said: Bool = both
        for v in e.values:
            with self.m.under(said if both else not_(said)):
                one = truth(self.value(v))
            said = and_(said, one) if both else or_(said, one)
        return said

    def name(self, name: str) -> Any:
        if name in NUMBERS:
            return NUMBERS[name].model
        if name in self.rule.constants:
            return self.m.sizes.constants[name]
        return self.frame.values[name]

    def unary(self, e: ast.UnaryOp) -> Any:
        value = self.value(e.operand)
        if isinstance(e.op, ast.Not):
            return not_(truth(value))
        if isinstance(e.op, ast.USub):
            return sub(0, number(value))
        assert isinstance(value, int), "~ of an unknown number"
        return ~value

    def binary(self, e: ast.BinOp) -> Any:
        left, right = self.value(e.left), self.value(e.right)
        if isinstance(e.op, ast.Add):
            return add(number(left), number(right))
        if isinstance(e.op, ast.Sub):
            return sub(number(left), number(right))
        if isinstance(left, Flags) and isinstance(right, int) and isinstance(e.op, ast.BitAnd):
            return left.of(right)
        if isinstance(left, Flags) and isinstance(right, int) and isinstance(e.op, ast.BitOr):
            return Flags(left.bits | {b: True for b in left.bits if b & right})
        assert isinstance(left, int) and isinstance(right, int), f"{ast.unparse(e)}: not on unknown numbers"
        return {ast.BitAnd: left & right, ast.BitOr: left | right, ast.Mult: left * right}[type(e.op)]

    def compare(self, e: ast.Compare) -> Bool:
        a, b = number(self.value(e.left)), number(self.value(e.comparators[0]))
        match e.ops[0]:
            case ast.Eq():
                return eq(a, b)
            case ast.NotEq():
                return not_(eq(a, b))
            case ast.Lt():
                return lt(a, b)
            case ast.LtE():
                return le(a, b)
            case ast.Gt():
                return lt(b, a)
        return le(b, a)

    def call(self, e: ast.Call) -> Any:
        name = mechanism(e)
        assert name is not None and self.frame.k is not None
        arguments = [self.frame.state if isinstance(a, ast.Name) and a.id == "f" else self.value(a) for a in e.args]
        if name == "ok":
            return le(0, number(arguments[0]))
        return self.frame.k(name, arguments)


__all__ = ["Descriptor", "Mechanisms", "implies", "number", "run_function", "truth"]

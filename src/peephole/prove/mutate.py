"""Mutants of a rule: its text with one thing wrong, to see whether the prover notices.

The operators are few and each is applied wherever it can be: drop-call, drop-flag, swap-order, off-by-one, drop-settle,
drop-guard. A mutant that the language itself refuses is not counted.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from peephole.errors import RuleError
from peephole.prove.functions import mechanism
from peephole.prove.language import RuleText, parse_rule
from peephole.prove.vocabulary import MECHANISMS, NUMBERS

OPERATORS = ("drop-call", "drop-flag", "swap-order", "off-by-one", "drop-settle", "drop-guard")
_OFF: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
}  # fmt: skip
#: Counts only; whether a call is counted is nothing that a program could notice.
_SILENT = ("hit",)


@dataclass(frozen=True)
class Mutant:
    """One wrong text. `name` says what was done and where; it is the same in every run."""

    operator: str
    function: str
    name: str
    rule: RuleText


_Change = Callable[[], None]


def mutants(rule: RuleText) -> Iterator[Mutant]:
    """Every mutant of a rule that lies inside the language."""
    tree = ast.parse(rule.path.read_bytes())
    count = len(list(_sites(tree)))
    seen: dict[str, int] = {}
    for i in range(count):
        changed = copy.deepcopy(tree)
        operator, function, what, change = list(_sites(changed))[i]
        change()
        text = ast.unparse(ast.fix_missing_locations(changed)).encode()
        try:
            wrong = parse_rule(text, rule.path, rule.name)
        except RuleError:
            continue
        name = f"{operator} {function}: {what}"
        seen[name] = seen.get(name, 0) + 1
        yield Mutant(operator, function, name + (f" ({seen[name]})" if seen[name] > 1 else ""), wrong)


def _sites(tree: ast.Module) -> Iterator[tuple[str, str, str, _Change]]:
    for f in [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]:
        for operator, what, change in _in_block(f.body):
            yield operator, f.name, what, change


def _in_block(body: list[ast.stmt]) -> Iterator[tuple[str, str, _Change]]:
    for i, s in enumerate(body):
        yield from _drops(body, i, s)
        if i + 1 < len(body) and _simple(s) and _simple(body[i + 1]) and (_calls(s) or _calls(body[i + 1])):
            yield "swap-order", f"{_say(s)} <-> {_say(body[i + 1])}", _swap(body, i)
        if isinstance(s, ast.If):
            yield "drop-guard", f"if {_say(s.test)}", _unguard(body, i, s)
            yield from _in_block(s.body)
            yield from _in_block(s.orelse)
        for e in _expressions(s):
            yield from _in_expression(e)


def _simple(s: ast.stmt) -> bool:
    silent = isinstance(s, ast.Expr) and mechanism(s.value) in _SILENT
    return isinstance(s, ast.Assign | ast.Expr) and not silent


def _calls(s: ast.stmt) -> bool:
    """Two assignments of plain values may change places: that is no mutant."""
    return any(isinstance(n, ast.Call) for n in ast.walk(s))


def _drops(body: list[ast.stmt], i: int, s: ast.stmt) -> Iterator[tuple[str, str, _Change]]:
    value = s.value if isinstance(s, ast.Assign | ast.Expr) else None
    name = mechanism(value) if value is not None else None
    if value is None or name is None or name in _SILENT:
        return
    operator = "drop-settle" if name.startswith("settle") else "drop-call"
    if isinstance(s, ast.Expr):
        yield operator, _say(s), lambda: body.__delitem__(i)
    elif MECHANISMS[name].gives in ("num", "bool"):
        yield operator, _say(s), lambda: setattr(s, "value", ast.Constant(0))


def _swap(body: list[ast.stmt], i: int) -> _Change:
    def change() -> None:
        body[i], body[i + 1] = body[i + 1], body[i]

    return change


def _unguard(body: list[ast.stmt], i: int, s: ast.If) -> _Change:
    def change() -> None:
        body[i : i + 1] = s.body
        if isinstance(s.body[-1], ast.Return):
            del body[i + len(s.body) :]  # nothing reaches it any more

    return change


def _expressions(s: ast.stmt) -> Iterator[ast.expr]:
    if isinstance(s, ast.If):
        yield s.test
    elif isinstance(s, ast.Assign | ast.Return | ast.Expr) and s.value is not None:
        yield s.value


def _in_expression(root: ast.expr) -> Iterator[tuple[str, str, _Change]]:
    for e in ast.walk(root):
        if isinstance(e, ast.Compare) and type(e.ops[0]) in _OFF:
            yield "off-by-one", _say(e), _other_comparison(e)
        elif isinstance(e, ast.BinOp) and isinstance(e.op, ast.Add | ast.Sub):
            yield "off-by-one", f"{_say(e)}, one more", _one_more(e)
        elif isinstance(e, ast.BinOp) and isinstance(e.op, ast.BitOr):
            for side in ("left", "right"):
                flag = getattr(e, side)
                if isinstance(flag, ast.Name) and flag.id in NUMBERS:
                    yield "drop-flag", f"{flag.id} of {_say(e)}", _without(e, side)
        elif isinstance(e, ast.BoolOp):
            for part in range(len(e.values)):
                yield "drop-guard", f"{_say(e.values[part])} of {_say(e)}", _fewer(e, part)


def _other_comparison(e: ast.Compare) -> _Change:
    def change() -> None:
        e.ops = [_OFF[type(e.ops[0])]()]

    return change


def _one_more(e: ast.BinOp) -> _Change:
    def change() -> None:
        e.right = ast.BinOp(e.right, ast.Add(), ast.Constant(1))

    return change


def _without(e: ast.BinOp, side: str) -> _Change:
    def change() -> None:
        setattr(e, side, ast.Constant(0))

    return change


def _fewer(e: ast.BoolOp, part: int) -> _Change:
    def change() -> None:
        del e.values[part]
        if len(e.values) == 1:
            e.values.append(copy.deepcopy(e.values[0]))

    return change


def _say(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())


__all__ = ["OPERATORS", "Mutant", "mutants"]

"""Terms: a small graph of shared nodes that folds constants, so that the model runs on plain integers as well.

A number is a Python int or a Term, a truth value a Python bool or a Term. Only what is left after folding is given to
Z3, once a node. Building here instead of with z3py's objects is what keeps a proof in seconds: most of the model
folds away before a solver sees it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, TypeAlias

#: how the names of unknowns begin that belong to one call
OF_CALL = ("arg.", "kernel.")


class Term:
    """One node; equal nodes are the same object."""

    __slots__ = ("args", "id", "largest", "of_call", "op")

    def __init__(self, op: str, args: tuple[Any, ...], number: int) -> None:
        self.op, self.args, self.id = op, args, number
        self.largest = 0  # absolute value of a constant in it
        self.of_call = False  # it depends on the words of a call, or on what the kernel makes of it
        if op in ("num", "bool"):
            self.of_call = args[0].startswith(OF_CALL)
            return
        for a in args:
            if isinstance(a, Term):
                size, self.of_call = a.largest, self.of_call or a.of_call
            else:
                size = abs(a)
            if size > self.largest:
                self.largest = size

    def __bool__(self) -> bool:
        raise TypeError("a term has no truth value: use ite() or a guard")

    def __repr__(self) -> str:
        return self.args[0] if self.op in ("num", "bool") else f"({self.op} {' '.join(map(repr, self.args))})"


Num: TypeAlias = "int | Term"
Bool: TypeAlias = "bool | Term"

_table: dict[tuple[Any, ...], Term] = {}


def reset() -> None:
    """Forget every node (between rules: nodes of one proof are of no use to the next)."""
    _table.clear()
    Translation._done.clear()


def _node(op: str, *args: Any) -> Term:
    key = (op, *[a.id if isinstance(a, Term) else (a, type(a)) for a in args])
    found = _table.get(key)
    if found is None:
        found = _table[key] = Term(op, args, len(_table))
    return found


def num_var(name: str, high: int | None = None) -> Term:
    """An unknown number; with `high` one from 0 on, for which the solver needs no more bits than `high` has.

    That it is not above `high` has to be said as well, where `high` is not all ones.
    """
    return _node("num", name) if high is None else _node("num", name, high.bit_length())


def _limit(a: Any) -> int | None:
    """The largest value that an unknown number can have, if it has few bits."""
    return (1 << a.args[1]) - 1 if isinstance(a, Term) and a.op == "num" and len(a.args) > 1 else None


def bool_var(name: str) -> Term:
    """An unknown truth value."""
    return _node("bool", name)


def not_(a: Bool) -> Bool:
    if isinstance(a, bool):
        return not a
    return a.args[0] if a.op == "not" else _node("not", a)


def and_(*parts: Bool) -> Bool:
    seen: dict[int, Term] = {}
    for p in parts:
        if isinstance(p, bool):
            if not p:
                return False
            continue
        for q in p.args if p.op == "and" else (p,):
            seen[q.id] = q
    for q in [q for q in seen.values() if q.op == "not"]:
        inner = q.args[0]
        if inner.id in seen:
            return False
        if inner.op != "and":
            continue
        # Of a denied conjunction, what is said beside it already needs no saying again.
        left = [r for r in inner.args if r.id not in seen]
        if not left:
            return False
        if any(r.op == "not" and r.args[0].id in seen for r in left):
            del seen[q.id]
        elif len(left) < len(inner.args):
            del seen[q.id]
            rest = not_(and_(*left))
            assert isinstance(rest, Term)
            return and_(*seen.values(), rest)
    if not seen:
        return True
    if len(seen) == 1:
        return next(iter(seen.values()))
    return _node("and", *[seen[i] for i in sorted(seen)])


def or_(*parts: Bool) -> Bool:
    return not_(and_(*[not_(p) for p in parts]))


def implies(a: Bool, b: Bool) -> Bool:
    return or_(not_(a), b)


def iff(a: Bool, b: Bool) -> Bool:
    return ite(a, b, not_(b))  # type: ignore[no-any-return]


def ite(c: Bool, a: Any, b: Any) -> Any:
    """If c then a else b, for numbers and for truth values."""
    if isinstance(c, bool):
        return a if c else b
    if a is b or (type(a) is type(b) and not isinstance(a, Term) and a == b):
        return a
    if c.op == "not":
        return ite(c.args[0], b, a)
    # A branch that asks the same question again has its answer.
    while isinstance(a, Term) and a.op in ("ite", "bite"):
        if _needs(c, a.args[0]):
            a = a.args[1]
        elif c.op == "and" and not_(a.args[0]) in c.args:
            a = a.args[2]
        else:
            break
    while isinstance(b, Term) and b.op in ("ite", "bite") and _needs(b.args[0], c):
        b = b.args[2]
    if a is b or (type(a) is type(b) and not isinstance(a, Term) and a == b):
        return a
    if _is_bool(a):
        if isinstance(a, bool):
            return or_(c, b) if a else and_(not_(c), b)
        if isinstance(b, bool):
            return or_(not_(c), a) if b else and_(c, a)
        return _node("bite", c, a, b)
    return _node("ite", c, a, b)


def _needs(condition: Term, c: Term) -> bool:
    """Whether a condition can hold only where c does: as far as it is plain to see."""
    return condition is c or (condition.op == "and" and c in condition.args)


def as_number(a: Any) -> Num:
    """A truth value as 0 or 1; a number as it is."""
    return ite(a, 1, 0) if _is_bool(a) else a  # type: ignore[no-any-return]


_BOOLS = frozenset(("bool", "not", "and", "eq", "lt", "bite"))


def _is_bool(a: Any) -> bool:
    return isinstance(a, bool) or (isinstance(a, Term) and a.op in _BOOLS)


def eq(a: Num, b: Num) -> Bool:
    if a is b:
        return True
    if isinstance(a, int):
        if isinstance(b, int):
            return a == b
        a, b = b, a
    if isinstance(b, int) and a.op == "ite":
        c, x, y = a.args
        if isinstance(x, int) or isinstance(y, int):
            return ite(c, eq(x, b), eq(y, b))  # type: ignore[no-any-return]
    if isinstance(b, int) and (limit := _limit(a)) is not None and not 0 <= b <= limit:
        return False
    if isinstance(b, Term) and a.id > b.id:
        a, b = b, a
    return _node("eq", a, b)


def lt(a: Num, b: Num) -> Bool:
    if a is b:
        return False
    if isinstance(a, int) and isinstance(b, int):
        return a < b
    for left, term, other in ((True, a, b), (False, b, a)):
        if isinstance(term, Term) and isinstance(other, int) and term.op == "ite":
            c, x, y = term.args
            if any(isinstance(z, int) or (z.op == "num" and _limit(z) is not None) for z in (x, y)):
                return ite(c, lt(x, b), lt(y, b)) if left else ite(c, lt(a, x), lt(a, y))  # type: ignore[no-any-return]
    if isinstance(b, int) and (limit := _limit(a)) is not None and not 0 < b <= limit:
        return b > 0
    if isinstance(a, int) and (limit := _limit(b)) is not None and not 0 <= a < limit:
        return a < 0
    return _node("lt", a, b)


def le(a: Num, b: Num) -> Bool:
    return not_(lt(b, a))


def add(a: Num, b: Num) -> Num:
    if isinstance(a, int):
        if isinstance(b, int):
            return a + b
        a, b = b, a
    if b == 0 and isinstance(b, int):
        return a
    if isinstance(b, int) and a.op == "add" and isinstance(a.args[1], int):
        return add(a.args[0], a.args[1] + b)
    if isinstance(b, int) and a.op == "ite" and isinstance(a.args[1], int) and isinstance(a.args[2], int):
        return ite(a.args[0], a.args[1] + b, a.args[2] + b)  # type: ignore[no-any-return]
    if isinstance(b, Term) and a.id > b.id:
        a, b = b, a
    return _node("add", a, b)


def sub(a: Num, b: Num) -> Num:
    if isinstance(b, int):
        return add(a, -b)
    if a is b:
        return 0
    return _node("sub", a, b)


def least(a: Num, b: Num) -> Num:
    return ite(lt(a, b), a, b)  # type: ignore[no-any-return]


def most(a: Num, b: Num) -> Num:
    return ite(lt(a, b), b, a)  # type: ignore[no-any-return]


def of_state(facts: Iterable[Bool]) -> list[Bool]:
    """Those of some facts, and of the parts of conjunctions among them, that are about the state alone."""
    parts = [p for f in facts for p in (f.args if isinstance(f, Term) and f.op == "and" else (f,))]
    return [p for p in parts if not (isinstance(p, Term) and p.of_call)]


def largest_constant(roots: Iterable[Bool]) -> int:
    """The largest absolute value that stands in these terms."""
    return max((t.largest for t in roots if isinstance(t, Term)), default=0)


class Translation:
    """Terms to Z3: bit vectors, wide enough for the largest constant and a few sums of it.

    By the solver's C functions themselves: its Python objects cost many times as much as what they stand for. Every
    node is translated once a process and width, and kept.
    """

    _done: ClassVar[dict[int, dict[int, Any]]] = {}

    def __init__(self, width: int) -> None:
        import z3
        from z3 import z3core

        self.z3, self.width = z3, width
        self.lib, self.context = z3core, z3.main_ctx()
        self.c = self.context.ref()
        self.sort = z3.BitVecSort(width).ast
        self.truth = z3.BoolSort().ast
        self.done = self._done.setdefault(width, {})
        self.numbers: dict[int, Any] = {}

    def of(self, t: Any) -> Any:
        """The Z3 expression of a truth value."""
        if isinstance(t, bool):
            return self.z3.BoolVal(t)
        stack = [t]
        while stack:
            top = stack[-1]
            if top.id in self.done:
                stack.pop()
                continue
            leaf = top.op in ("num", "bool")
            waiting = [] if leaf else [a for a in top.args if isinstance(a, Term) and a.id not in self.done]
            if waiting:
                stack.extend(waiting)
                continue
            stack.pop()
            self.done[top.id] = self._kept(self._one(top))
        return self.z3.BoolRef(self.done[t.id], self.context)

    def _kept(self, made: Any) -> Any:
        self.lib.Z3_inc_ref(self.c, made)
        return made

    def _value(self, a: Any) -> Any:
        if isinstance(a, Term):
            return self.done[a.id]
        if isinstance(a, bool):
            return self._kept(self.lib.Z3_mk_true(self.c) if a else self.lib.Z3_mk_false(self.c))
        if a not in self.numbers:
            self.numbers[a] = self._kept(self.lib.Z3_mk_int64(self.c, a, self.sort))
        return self.numbers[a]

    def _one(self, t: Term) -> Any:
        lib, c = self.lib, self.c
        if t.op in ("num", "bool"):
            symbol = lib.Z3_mk_string_symbol(c, t.args[0])
            if len(t.args) > 1:
                bits = t.args[1]
                few = lib.Z3_mk_const(c, symbol, self.z3.BitVecSort(bits).ast)
                return lib.Z3_mk_zero_ext(c, self.width - bits, few)
            return lib.Z3_mk_const(c, symbol, self.sort if t.op == "num" else self.truth)
        args = [self._value(a) for a in t.args]
        match t.op:
            case "not":
                return lib.Z3_mk_not(c, args[0])
            case "and":
                return lib.Z3_mk_and(c, len(args), (self.z3.z3types.Ast * len(args))(*args))
            case "ite" | "bite":
                return lib.Z3_mk_ite(c, *args)
            case "eq":
                return lib.Z3_mk_eq(c, *args)
            case "lt":
                return lib.Z3_mk_bvslt(c, *args)
            case "add":
                return lib.Z3_mk_bvadd(c, *args)
            case "sub":
                return lib.Z3_mk_bvsub(c, *args)
        raise AssertionError(t.op)


def evaluate(t: Any, values: dict[str, Any], width: int = 64) -> Any:
    """The value of a term under an assignment of its unknowns, sums wrapping as the solver's do; an unknown without a
    value is 0 or False.
    """
    done: dict[int, Any] = {}

    def value(a: Any) -> Any:
        return done[a.id] if isinstance(a, Term) else a

    if not isinstance(t, Term):
        return t
    stack = [t]
    while stack:
        top = stack[-1]
        waiting = [] if top.op in ("num", "bool") else [a for a in top.args if isinstance(a, Term) and a.id not in done]
        if top.id in done or not waiting:
            stack.pop()
            if top.id not in done:
                done[top.id] = _evaluate_one(top, [value(a) for a in top.args], values, width)
        else:
            stack.extend(waiting)
    return done[t.id]


def _evaluate_one(t: Term, args: list[Any], values: dict[str, Any], width: int) -> Any:
    match t.op:
        case "num":
            return values.get(t.args[0], 0)
        case "bool":
            return values.get(t.args[0], False)
        case "not":
            return not args[0]
        case "and":
            return all(args)
        case "ite" | "bite":
            return args[1] if args[0] else args[2]
        case "eq":
            return args[0] == args[1]
        case "lt":
            return args[0] < args[1]
        case "add":
            return _wrap(args[0] + args[1], width)
        case "sub":
            return _wrap(args[0] - args[1], width)
    raise AssertionError(t.op)


def _wrap(value: int, width: int) -> int:
    half = 1 << (width - 1)
    return (value + half) % (2 * half) - half

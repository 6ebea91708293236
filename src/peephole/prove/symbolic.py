"""One call from an unknown state: the step that every query of that call is about, built once a process."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any

from peephole.prove.invariant import Candidate
from peephole.prove.language import RuleText
from peephole.prove.model.alphabet import Shape, unknown_call, unknown_failure, unknown_oracle, unknown_sizes
from peephole.prove.model.dispatch import reaches
from peephole.prove.model.machine import CHUNK, DESCRIPTIONS, Oracle, Sizes, one_of, unknown_state, well_formed
from peephole.prove.model.mechanisms import OPENS
from peephole.prove.model.terms import Bool, and_, bool_var, eq, le, not_, num_var, or_
from peephole.prove.step import Freedom, Step, take_step

NOW_MAX = 40  # more than any rule's constants in milliseconds
REFUSES = tuple(bool_var(f"refuses{i}") for i in range(3))


@dataclass
class Symbolic:
    """One call taken from an unknown state of the rule's side: the step, and what is assumed of it."""

    shape: Shape
    step: Step
    assumed: Bool
    kept_rely: Bool
    sizes: Sizes
    facts: dict[tuple[str, bool], Bool] = field(default_factory=dict)
    seen: dict[bool, list[tuple[Any, ...]]] = field(default_factory=dict)

    def fact(self, one: Candidate, after: bool) -> Bool:
        """A fact about every description, before or after the call."""
        key = (one.label, after)
        if key not in self.facts:
            state = self.step.after if after else self.step.before
            if after not in self.seen:
                self.seen[after] = [_seen(state, d) for d in range(DESCRIPTIONS)]
            self.facts[key] = and_(*[_fact(one, state, d, self.seen[after][d]) for d in range(DESCRIPTIONS)])
        return self.facts[key]

    def known(self, invariant: list[Candidate]) -> Bool:
        """All that may be taken for granted: the ranges of the unknowns, and the invariant before the call."""
        return and_(self.assumed, *[self.fact(c, False) for c in invariant])


def _seen(state: dict[str, Any], d: int) -> tuple[Any, ...]:
    """All of a state that a fact about one description can be about."""
    mine = f"d{d}."
    return tuple(getattr(v, "id", ("#", v)) for k, v in state.items() if k.startswith(mine) or k[0] != "d")


_facts: dict[tuple[Any, ...], Bool] = {}


def _fact(one: Candidate, state: dict[str, Any], d: int, seen: tuple[Any, ...]) -> Bool:
    """A fact about one description; most calls leave the other descriptions as they are."""
    key = (one.label, one.about, d, seen)
    if key not in _facts:
        _facts[key] = one.holds(state, d)
    return _facts[key]


_built: dict[tuple[Any, ...], Symbolic] = {}


def symbolic_step(rule: RuleText, shape: Shape, failing: bool) -> Symbolic:
    """The step of one call; with `failing`, the rule's own calls may fail too."""
    key = (*_texts(rule, shape), shape, failing)
    if key not in _built:
        _built[key] = _build(rule, shape, failing)
        if failing and _built[key].step.failed is False:
            _built[*key[:-1], False] = _built[key]  # nothing of its own can fail here
    return _built[key]


def forget() -> None:
    """Of no use any more, when another rule is proved in the same process."""
    _built.clear()
    _facts.clear()


def _texts(rule: RuleText, shape: Shape) -> tuple[Any, ...]:
    """All of a rule that this call's step depends on: rules that have it in common have the same step."""
    handler = rule.handlers.get(reaches(shape.name)) or rule.handlers.get(shape.name)
    functions = [f for f in (rule.pending, rule.settle, handler) if f]
    bodies = tuple((f.name, f.parameters, f.has_state, "\n".join(map(ast.unparse, f.body))) for f in functions)
    fields = tuple(map(tuple, (rule.fields.items(), rule.process.items(), rule.constants.items())))
    about = (rule.per_file, rule.streams, rule.pipes, rule.alone, "owe" in rule.mechanisms)
    return (rule.path, bodies, fields, rule.buffer, *about)


def _build(rule: RuleText, shape: Shape, failing: bool) -> Symbolic:
    sizes, order = unknown_sizes(rule)
    call, ranges = unknown_call(shape)
    oracle, choices = unknown_oracle("kernel")
    state = unknown_state(rule)
    new_slot = None
    if shape.name in OPENS:
        new_slot = DESCRIPTIONS - 1
    elif shape.slots and shape.by == "us":
        state["d0.ino"] = 0  # by symmetry of the files
        state["d1.ino"] = one_of("d1.ino", (0, 1))
    own: dict[int, Oracle] = {}
    if failing:
        own = {d: Oracle(unknown_failure(f"own{d}"), num_var(f"own{d}.short", CHUNK)) for d in range(DESCRIPTIONS)}
    free = unknown_freedom(oracle, own, new_slot)
    facts = [order, ranges, choices, well_formed(state, sizes, rule.alone), *filling(free)]
    step = take_step(rule, sizes, state, call, free)
    rely = step.differs.pop("rely", False)
    return Symbolic(shape, step, and_(*facts, step.inside), not_(rely), sizes)


def unknown_freedom(oracle: Oracle, own: dict[int, Oracle], new_slot: int | None) -> Freedom:
    """Anything that may be left open in a step."""
    return Freedom(
        oracle, own, bool_var("file_given"), new_slot, num_var("filled"), num_var("now", NOW_MAX), REFUSES
    )  # fmt: skip


def filling(free: Freedom) -> list[Bool]:
    """What a window may be given, and what the clock may say."""
    some = and_(le(0, free.filled), le(free.filled, CHUNK))
    return [or_(some, eq(free.filled, -5)), le(0, free.now), le(free.now, NOW_MAX)]


__all__ = ["NOW_MAX", "REFUSES", "Symbolic", "filling", "forget", "symbolic_step", "unknown_freedom"]

"""Whether a changed rule is the same rule, as far as any program could tell, and whether it is a right one.

Both start from the invariant of the rule that was changed. Where every call from every state in which it holds leaves
the same state, gives the same answer and breaks the same guarantees, the two are one rule: what the first can reach, so
can the second, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from peephole.prove.invariant import Candidate
from peephole.prove.language import RuleText
from peephole.prove.model.alphabet import Shape, alphabet_of
from peephole.prove.model.machine import kernel_keys
from peephole.prove.model.terms import Bool, eq, not_, or_
from peephole.prove.notes import RULE, notes_of
from peephole.prove.obligations import (
    find_invariant,
    interrupting,
    invariant_of,
    labels_of,
    obligations_of,
    prove_interrupted,
)
from peephole.prove.solver import Prover
from peephole.prove.step import DISCIPLINE, same
from peephole.prove.stories import breaks, find_stories
from peephole.prove.symbolic import Symbolic, symbolic_step
from peephole.prove.vocabulary import GUARANTEES, PROFILES

ALL_LOSABLE = (*[g for g in GUARANTEES if g != "crash"], *[f"crash {p}" for p in PROFILES])


@dataclass(frozen=True)
class Likeness:
    """How far two rules are alike: in all that they do, or in all but what they remember."""

    alike: bool
    but_for_memory: bool


def compare(right: RuleText, other: RuleText, labels: list[str]) -> Likeness:
    """Two rules with the same fields, from each state in which the first one's invariant holds."""
    invariant = invariant_of(right, labels)
    alike, seen_alike = True, True
    for shape in alphabet_of(right):
        a, b = symbolic_step(right, shape, failing=True), symbolic_step(other, shape, failing=True)
        if a is b:
            continue
        if a.step.after.keys() != b.step.after.keys():
            return Likeness(False, False)
        known = a.known(invariant)
        seen, kept = _seen_differs(a, b), _memory_differs(a, b)
        prover = Prover(known, seen, kept)
        seen_alike = seen_alike and not prover.possible(known, seen)
        alike = alike and seen_alike and not prover.possible(known, kept)
        if not seen_alike:
            break
    if alike:
        during = [prove_interrupted(other, shape, labels) for shape in interrupting(other)]
        alike = not any(any(p.broken.values()) for p in during)
    return Likeness(alike, seen_alike)


def _seen_differs(a: Symbolic, b: Symbolic) -> Bool:
    """Where the kernel's state, the answer, the program's memory or what is broken differs."""
    one, two = a.step, b.step
    heard = sorted(set(one.out) | set(two.out))
    parts: list[Bool] = [not_(eq(one.result, two.result))]
    parts += [not_(same(one.after[k], two.after[k])) for k in kernel_keys(one.after)]
    parts += [not_(same(one.out.get(k, 0), two.out.get(k, 0))) for k in heard]
    for name in one.differs.keys() | two.differs.keys():
        parts.append(not_(same(one.differs.get(name, False), two.differs.get(name, False))))
    parts.append(not_(same(one.inside, two.inside)))
    return or_(*parts)


def _memory_differs(a: Symbolic, b: Symbolic) -> Bool:
    """Where what the rule or the dispatcher remembers differs."""
    return or_(*[not_(same(v, b.step.after[k])) for k, v in a.step.after.items()])


def given_up(rule: RuleText) -> frozenset[str]:
    """What the rule's text says it gives up, by the names that steps have for it."""
    return rule.relaxes | {f"crash {p}" for p in PROFILES if "crash" in rule.given_up(p)} - {"crash"}


def first_fault(rule: RuleText, near: Iterable[str], trials: int) -> str | None:
    """What the rule breaks that it says it keeps, or keeps that it says it gives up: the first thing found, or None.

    `near` names the handlers whose calls are looked at first. Cheapest first: a search of some thousand runs, then one
    query after another.
    """
    broken = first_break(rule, near)
    if broken:
        return broken
    lost = given_up(rule)
    unseen = lost - find_stories(rule, lost, trials, patient=False).keys()
    labels = find_invariant(rule, alphabet_of(rule)) if unseen else []
    for name in sorted(unseen):
        others = frozenset(ALL_LOSABLE) - {name}
        if not any(_broken_at(rule, shape, labels, others) == name for shape in alphabet_of(rule)):
            return f"it keeps {name}, which it says it gives up"
    return None


def first_break(rule: RuleText, near: Iterable[str]) -> str | None:
    """What some call breaks that the rule says it keeps, as the solver finds it; the calls named in `near` first."""
    noted = [label for label in notes_of(rule).invariant if label in labels_of(rule)]
    if noted and _first_break(rule, noted, near) is None:
        return None
    return _first_break(rule, find_invariant(rule, alphabet_of(rule)), near)


def _first_break(rule: RuleText, labels: list[str], near: Iterable[str]) -> str | None:
    lost = given_up(rule)
    for shape in sorted(alphabet_of(rule), key=lambda s: s.name not in {*near}):
        found = _broken_at(rule, shape, labels, lost)
        if found:
            return f"{found}, at {shape.title}"
    for shape in interrupting(rule):
        broken = prove_interrupted(rule, shape, labels).broken
        if any(broken.values()):
            return f"{next(iter(broken))}, at {shape.title}"
    return None


def _broken_at(rule: RuleText, shape: Shape, labels: list[str], lost: frozenset[str]) -> str | None:
    """The first obligation that some state breaks at this call."""
    asked = obligations_of(rule, shape, labels, lost)
    prover = Prover(*[f for _, facts in asked for f in facts])
    for name, facts in asked:
        if prover.possible(*facts):
            return name
    return None


def breaks_like_a_neighbour(rule: RuleText) -> str | None:
    """What a run breaks that the rule says it keeps, of the runs that are noted of the neighbours beside it."""
    kept = {*ALL_LOSABLE} - given_up(rule)
    notes = notes_of(rule)
    for key in notes.runs.keys() - {RULE}:
        for name, run in notes.runs_of(rule, key).items():
            if (name in kept or name.startswith(DISCIPLINE)) and breaks(rule, run, name) is not None:
                return name
    return None


def is_story_of_fault(rule: RuleText, near: Iterable[str], trials: int) -> str | None:
    """What a short run of calls breaks that the rule says it keeps, if one is found."""
    kept = {*ALL_LOSABLE} - given_up(rule)
    stories = find_stories(rule, {*kept, DISCIPLINE}, trials, focus=near, first=True)
    return next(iter(stories), None)


__all__ = [
    "Candidate",
    "Likeness",
    "breaks_like_a_neighbour",
    "compare",
    "first_fault",
    "given_up",
    "is_story_of_fault",
]

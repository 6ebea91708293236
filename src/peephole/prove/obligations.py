"""The obligations of a rule: one named query for each guarantee and each call of the alphabet.

A query asks the solver for a state in which the rule's invariant holds, and a call, after which something named is
broken. `unsat` proves that it never is; `sat` that the guarantee is lost; `unknown` is a failure.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from peephole.prove.invariant import MIRROR, Candidate, all_hold, candidates
from peephole.prove.language import RuleText
from peephole.prove.model import terms
from peephole.prove.model.alphabet import ALPHABET, Shape, alphabet_of, unknown_call, unknown_oracle, unknown_sizes
from peephole.prove.model.machine import DESCRIPTIONS, unknown_state, well_formed
from peephole.prove.model.terms import Bool, and_, not_, or_
from peephole.prove.solver import Prover
from peephole.prove.step import DISCIPLINE, WITHOUT_RELY, take_interrupted
from peephole.prove.symbolic import Symbolic, filling, symbolic_step, unknown_freedom

#: Asked alone: these compare whole files.
LARGE = ("contents", "crash ext4-ordered", "crash sequential")
#: Kept whatever a rule says: breaking them refutes it.
NEVER_GIVEN_UP = ("contents", "results")
#: The invariant is what a proof stands on; this is asked again of what was found.
INVARIANT_KEPT = f"{DISCIPLINE}: the invariant is kept"


@dataclass
class CallProof:
    """What the solver said of one call: which obligations some state breaks."""

    call: str
    broken: dict[str, bool] = field(default_factory=dict)
    queries: int = 0
    seconds: float = 0.0
    worst_ms: float = 0.0


def find_invariant(rule: RuleText, shapes: Iterable[Shape], start: list[str] | None = None) -> list[str]:
    """The labels of the generic facts that each of these calls keeps, of all or of those in `start`."""
    sizes, _ = unknown_sizes(rule)
    kept = [c for c in candidates(rule, sizes) if start is None or c.label in start]
    steps = [symbolic_step(rule, shape, failing=True) for shape in shapes]
    provers = [Prover(s.known(kept), s.kept_rely, *[s.fact(c, True) for c in kept]) for s in steps]
    changed = True
    while changed:
        changed = False
        for s, prover in zip(steps, provers, strict=True):
            left = _drop_broken(prover, s, kept)
            changed = changed or len(left) < len(kept)
            kept = left
    return [c.label for c in kept]


def _drop_broken(prover: Prover, s: Symbolic, kept: list[Candidate]) -> list[Candidate]:
    """Ask until no call of this shape breaks a fact that is left."""
    while True:
        after = {c.label: s.fact(c, True) for c in kept}
        values = prover.model(s.known(kept), s.kept_rely, not_(and_(*after.values())))
        if values is None:
            return kept
        before = len(kept)
        kept = [c for c in kept if terms.evaluate(after[c.label], values, prover.width)]
        assert len(kept) < before, "the solver's counterexample breaks no fact"


def invariant_of(rule: RuleText, labels: list[str]) -> list[Candidate]:
    """The candidates with these labels."""
    sizes, _ = unknown_sizes(rule)
    return [c for c in candidates(rule, sizes) if c.label in labels]


def labels_of(rule: RuleText) -> frozenset[str]:
    """The label of each fact that there is about a rule's state."""
    return frozenset(c.label for c in candidates(rule, unknown_sizes(rule)[0]))


_Asked = tuple[str, tuple[Bool, ...]]


def obligations_of(rule: RuleText, shape: Shape, labels: list[str], lost: frozenset[str]) -> list[_Asked]:
    """What is asked of one call, without what is known to be lost: names, and facts that must not hold together."""
    invariant = invariant_of(rule, labels)
    normal, failing = symbolic_step(rule, shape, failing=False), symbolic_step(rule, shape, failing=True)
    known = [s.known(invariant) for s in (normal, failing)]
    asked: list[_Asked] = []
    for name, where in normal.step.differs.items():
        if name != "error-timing" and name not in lost:
            rely: Bool = True if name in WITHOUT_RELY else normal.kept_rely
            asked += [(name, (known[0], rely, piece)) for piece in normal.step.parts.get(name, [where])]
    for name, where in failing.step.differs.items():
        if name not in lost and (name == "error-timing" or name.startswith(DISCIPLINE)):
            asked.append((name, (known[1], failing.kept_rely, where)))
    if shape.by == "other" and "freshness" not in lost:
        # What is remembered may be old once another process changed it.
        mirrors = [normal.fact(c, True) for c in invariant if MIRROR in c.label]
        asked.append(("freshness", (known[0], True, not_(and_(*mirrors)))))
    kept = and_(*[failing.fact(c, True) for c in invariant], well_formed(failing.step.after, failing.sizes, rule.alone))
    asked.append((INVARIANT_KEPT, (known[1], failing.kept_rely, not_(kept))))
    return asked


def prove_call(rule: RuleText, shape: Shape, labels: list[str], lost: frozenset[str]) -> CallProof:
    """Every obligation of one call, each a query of its own; `lost` are those that a run has broken already."""
    began = time.monotonic()
    proof = CallProof(shape.title if shape.by != "other" else f"another's {shape.title}")
    asked = obligations_of(rule, shape, labels, lost)
    prover = Prover(*[f for _, facts in asked for f in facts])
    proof.broken = _ask(prover, asked)
    proof.queries, proof.worst_ms, proof.seconds = prover.queries, prover.worst_ms, time.monotonic() - began
    return proof


def _ask(prover: Prover, asked: list[_Asked]) -> dict[str, bool]:
    """Which obligations can be broken. The small ones are asked together first: most often none of them can be."""
    broken = {name: False for name, _ in asked}
    together: dict[tuple[Any, ...], list[_Asked]] = {}
    for name, facts in asked:
        if name in LARGE:
            broken[name] = broken[name] or prover.possible(*facts)
        elif all(f is not False for f in facts):
            together.setdefault(tuple(getattr(f, "id", f) for f in facts[:2]), []).append((name, facts))
    for group in together.values():
        _, (known, rely, _) = group[0]
        if prover.possible(known, rely, or_(*[facts[2] for _, facts in group])):
            for name, facts in group:
                broken[name] = broken[name] or prover.possible(*facts)
    return broken


def prove_interrupted(rule: RuleText, shape: Shape, labels: list[str]) -> CallProof:
    """A call of this shape by another thread, or by a signal handler, while an open is under way."""
    began = time.monotonic()
    sizes, order = unknown_sizes(rule)
    opening, ranges = unknown_call(alphabet_of(rule)[0])
    other, other_ranges = unknown_call(shape)
    oracle, choices = unknown_oracle("kernel")
    state = unknown_state(rule)
    free = unknown_freedom(oracle, {}, DESCRIPTIONS - 1)
    facts = and_(order, ranges, other_ranges, choices, well_formed(state, sizes, rule.alone), *filling(free))
    inside, wrong = take_interrupted(rule, sizes, state, opening, other, free)
    known = all_hold(invariant_of(rule, labels), state)
    prover = Prover(facts, known, inside, wrong)
    found = prover.possible(facts, known, inside, wrong)
    name = f"{DISCIPLINE}: a call of another thread during an open is as if before or after it"
    seconds = time.monotonic() - began
    return CallProof(f"{shape.title} during {opening.name}", {name: found}, prover.queries, seconds, prover.worst_ms)


def interrupting(rule: RuleText) -> list[Shape]:
    """The calls that may be made in the middle of an open: those that the rule handles, and a few more."""
    if not {"openat", "accept4", "pipe2"} & rule.handlers.keys():
        return []
    names = {*rule.handlers, "read", "close", "dup", "fsync"}
    return [s for s in ALPHABET if s.name in names and s.slots == "d" and s.by == "us"]


__all__ = [
    "INVARIANT_KEPT",
    "NEVER_GIVEN_UP",
    "CallProof",
    "find_invariant",
    "interrupting",
    "labels_of",
    "obligations_of",
    "prove_call",
    "prove_interrupted",
]

"""The obligations of a rule: one named query for each guarantee and each call of the alphabet.

A query asks the solver for a state in which the rule's invariant holds, and a call, after which something named is
broken. `unsat` proves that it never is; `sat` that the guarantee is lost; `unknown` is a failure.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from peephole.errors import RuleError
from peephole.prove.invariant import MIRROR, Candidate, all_hold, candidates
from peephole.prove.language import RuleText
from peephole.prove.model import terms
from peephole.prove.model.alphabet import (
    ALPHABET,
    ERRORS,
    Shape,
    alphabet_of,
    unknown_call,
    unknown_oracle,
    unknown_sizes,
)
from peephole.prove.model.machine import (
    CHUNK,
    DESCRIPTIONS,
    Oracle,
    kernel_keys,
    one_of,
    unknown_state,
    well_formed,
)
from peephole.prove.model.mechanisms import OPENS
from peephole.prove.model.terms import (
    Bool,
    Term,
    Translation,
    and_,
    bool_var,
    eq,
    largest_constant,
    le,
    not_,
    num_var,
    or_,
)
from peephole.prove.step import DISCIPLINE, WITHOUT_RELY, Freedom, Step, take_interrupted, take_step

QUERY_TIMEOUT_MS = 120_000
#: Asked alone: these compare whole files.
LARGE = ("contents", "crash ext4-ordered", "crash sequential")
NOW_MAX = 40  # more than any rule's constants in milliseconds
REFUSES = tuple(bool_var(f"refuses{i}") for i in range(3))
#: Kept whatever a rule says: breaking them refutes it.
NEVER_GIVEN_UP = ("contents", "results")


@dataclass
class CallProof:
    """What the solver said of one call: which obligations some state breaks."""

    call: str
    broken: dict[str, bool] = field(default_factory=dict)
    queries: int = 0
    seconds: float = 0.0
    worst_ms: float = 0.0


@dataclass
class Symbolic:
    """One call taken from an unknown state of the rule's side: the step, and what is assumed of it."""

    shape: Shape
    step: Step
    assumed: Bool
    kept_rely: Bool
    sizes: Any


def symbolic_step(rule: RuleText, shape: Shape, failing: bool) -> Symbolic:
    """Build the step of one call; with `failing`, the rule's own calls may fail too."""
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
    facts = [order, ranges, choices, well_formed(state, sizes, rule.alone)]
    own: dict[int, Oracle] = {}
    if failing:
        for d in range(DESCRIPTIONS):
            own[d] = Oracle(num_var(f"own{d}.fail"), num_var(f"own{d}.short"))
            facts.append(or_(*[eq(own[d].fail, -e) for e in ERRORS], eq(own[d].fail, 0)))
            facts += [le(0, own[d].short), le(own[d].short, CHUNK)]
    free = Freedom(oracle, own, bool_var("file_given"), new_slot, num_var("filled"), num_var("now"), REFUSES)
    facts += filling(free)
    step = take_step(rule, sizes, state, call, free)
    rely = step.differs.pop("rely", False)
    return Symbolic(shape, step, and_(*facts, step.inside), not_(rely), sizes)


def filling(free: Freedom) -> list[Bool]:
    """What a window may be given, and what the clock may say."""
    some = and_(le(0, free.filled), le(free.filled, CHUNK))
    return [or_(some, eq(free.filled, -5)), le(0, free.now), le(free.now, NOW_MAX)]


class Prover:
    """Asks Z3; counts queries and times. `about`: terms that queries will be made of; each is translated once."""

    def __init__(self, *about: Bool) -> None:
        self.queries, self.worst_ms = 0, 0.0
        self.width = max(9, largest_constant(list(about)).bit_length() + 2)
        self.translation = Translation(self.width)

    def model(self, *facts: Bool) -> dict[str, Any] | None:
        """Values of the unknowns that make every fact hold, or None. Raises RuleError on `unknown`."""
        import z3

        goal = and_(*facts)
        if goal is False:
            return None
        self.queries += 1
        began = time.monotonic()
        assert largest_constant([goal]).bit_length() + 2 <= self.width, "a number that the solver would wrap"
        solver = z3.SolverFor("QF_BV")
        solver.set("timeout", QUERY_TIMEOUT_MS)
        solver.add(*[self.translation.of(f) for f in facts])
        said = solver.check()
        self.worst_ms = max(self.worst_ms, 1000 * (time.monotonic() - began))
        if said == z3.unsat:
            return None
        if said != z3.sat:
            raise RuleError(
                f"the solver gave up ({solver.reason_unknown()}): not proved; raise the timeout or simplify"
            )
        found = solver.model()
        return {d.name(): _value(found[d], z3) for d in found.decls()}

    def possible(self, *facts: Bool) -> bool:
        """Whether some values make every fact hold; the same question is asked once a process."""
        goal = and_(*facts)
        if isinstance(goal, bool):
            return goal
        if goal.id not in _answers:
            _answers[goal.id] = self.model(*facts) is not None
        return _answers[goal.id]


#: goal -> whether it can hold. Equal goals are one node, so calls that the kernel treats alike are proved once.
_answers: dict[int, bool] = {}


def _value(v: Any, z3: Any) -> Any:
    return z3.is_true(v) if z3.is_bool(v) else v.as_signed_long()


def find_invariant(rule: RuleText, shapes: tuple[Shape, ...], start: list[str] | None = None) -> list[str]:
    """The labels of the generic facts that every call keeps. `start`: those that a random run has not broken."""
    sizes, _ = unknown_sizes(rule)
    every = candidates(rule, sizes)
    kept = [c for c in every if start is None or c.label in start]
    steps = [symbolic_step(rule, shape, failing=True) for shape in shapes]
    provers = [Prover(s.assumed, s.kept_rely, _all_after(s, kept), all_hold(kept, s.step.before)) for s in steps]
    changed = True
    while changed:
        changed = False
        for s, prover in zip(steps, provers, strict=True):
            kept, dropped = _drop_broken(prover, s, kept)
            changed = changed or dropped
    return [c.label for c in kept]


def _all_after(s: Symbolic, kept: list[Candidate]) -> Bool:
    return all_hold(kept, s.step.after)


def _drop_broken(prover: Prover, s: Symbolic, kept: list[Candidate]) -> tuple[list[Candidate], bool]:
    """Ask until no call of this shape breaks a fact that is left."""
    dropped = False
    while True:
        after = {c.label: and_(*[c.holds(s.step.after, d) for d in range(DESCRIPTIONS)]) for c in kept}
        goal = (s.assumed, s.kept_rely, all_hold(kept, s.step.before), not_(and_(*after.values())))
        whole = and_(*goal)
        if whole is False or (isinstance(whole, Term) and _answers.get(whole.id) is False):
            return kept, dropped
        values = prover.model(*goal)
        if values is None:
            if isinstance(whole, Term):
                _answers[whole.id] = False
            return kept, dropped
        before = len(kept)
        kept = [c for c in kept if terms.evaluate(after[c.label], values, prover.width)]
        assert len(kept) < before, "the solver's counterexample breaks no fact"
        dropped = True


def invariant_of(rule: RuleText, labels: list[str]) -> list[Candidate]:
    """The candidates with these labels."""
    sizes, _ = unknown_sizes(rule)
    return [c for c in candidates(rule, sizes) if c.label in labels]


def prove_call(rule: RuleText, shape: Shape, labels: list[str], lost: frozenset[str]) -> CallProof:
    """Every obligation of one call, each a query of its own; `lost` are those that a run has broken already."""
    began = time.monotonic()
    invariant = invariant_of(rule, labels)
    proof = CallProof(shape.title if shape.by != "other" else f"another's {shape.title}")
    normal, failing = symbolic_step(rule, shape, failing=False), symbolic_step(rule, shape, failing=True)
    after = failing.step.after
    kept = and_(all_hold(invariant, after), well_formed(after, failing.sizes, rule.alone))
    known = [and_(s.assumed, all_hold(invariant, s.step.before)) for s in (normal, failing)]
    wheres = [w for s in (normal, failing) for w in s.step.differs.values()]
    wheres.append(all_hold(invariant, normal.step.after))
    prover = Prover(*known, normal.kept_rely, failing.kept_rely, kept, *wheres)
    asked: list[tuple[str, tuple[Bool, ...]]] = []
    for name, where in normal.step.differs.items():
        if name != "error-timing" and name not in lost:
            rely: Bool = True if name in WITHOUT_RELY else normal.kept_rely
            asked += [(name, (known[0], rely, piece)) for piece in normal.step.parts.get(name, [where])]
    for name, where in failing.step.differs.items():
        if name not in lost and (name == "error-timing" or name.startswith(DISCIPLINE)):
            asked.append((name, (known[1], failing.kept_rely, where)))
    if shape.by == "other":
        # What is remembered may be old once another process changed it.
        mirrors = [c for c in invariant if MIRROR in c.label]
        asked.append(("freshness", (known[0], True, not_(all_hold(mirrors, normal.step.after)))))
    asked.append((f"{DISCIPLINE}: the invariant is kept", (known[1], failing.kept_rely, not_(kept))))
    proof.broken = _ask(prover, asked)
    proof.queries, proof.worst_ms, proof.seconds = prover.queries, prover.worst_ms, time.monotonic() - began
    return proof


def _ask(prover: Prover, asked: list[tuple[str, tuple[Bool, ...]]]) -> dict[str, bool]:
    """Which obligations can be broken. The small ones are asked together first: most often none of them can be."""
    broken = {name: False for name, _ in asked}
    together: dict[tuple[Any, ...], list[tuple[str, tuple[Bool, ...]]]] = {}
    for name, facts in asked:
        if name in LARGE:
            broken[name] = broken[name] or prover.possible(*facts)
        elif and_(*facts) is not False:
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
    free = Freedom(oracle, {}, bool_var("file_given"), DESCRIPTIONS - 1, num_var("filled"), num_var("now"), REFUSES)
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
    names = {*rule.handlers, "read", "close", "dup", "fsync"}
    return [s for s in ALPHABET if s.name in names and s.slots == "d" and s.by == "us"]


__all__ = [
    "NEVER_GIVEN_UP",
    "CallProof",
    "find_invariant",
    "interrupting",
    "kernel_keys",
    "prove_call",
    "prove_interrupted",
    "symbolic_step",
]

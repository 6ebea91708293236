"""Asks the solver, counts queries and times, and remembers answers for as long as the process lives."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from peephole.errors import RuleError
from peephole.prove.model.terms import Bool, Term, Translation, largest_constant, of_state

QUERY_TIMEOUT_MS = 120_000
#: a sixth quicker than the solver's own choice for bit vectors
TACTICS = ("simplify", "propagate-values", "bit-blast", "aig", "sat")

#: the facts of a goal -> whether they can hold together. Equal facts are one node, so calls that the kernel treats
#: alike are proved once.
_answers: dict[tuple[int, ...], bool] = {}


class Prover:
    """Asks Z3. `about`: terms that queries will be made of: they decide how wide numbers are."""

    def __init__(self, *about: Bool) -> None:
        self.queries, self.worst_ms = 0, 0.0
        self.width = max(9, largest_constant(about).bit_length() + 2)
        self.translation = Translation(self.width)

    def model(self, *facts: Bool) -> dict[str, Any] | None:
        """Values of the unknowns that make every fact hold, or None. Raises RuleError on `unknown`."""
        key = _key(facts)
        if key is None or _answers.get(key) is False:
            return None
        found = self._ask(facts)
        _answers[key] = found is not None
        return found

    def possible(self, *facts: Bool) -> bool:
        """Whether some values make every fact hold; the same question is asked once a process."""
        key = _key(facts)
        if key is None or key == ():
            return key == ()
        if key not in _answers:
            goal = facts[-1]
            if isinstance(goal, Term) and not goal.of_call:
                # What no state of the rule can break, no call can: many calls ask this same question.
                general = of_state(facts)
                if _key(general) != key and not self.possible(*general):
                    _answers[key] = False
                    return False
            _answers[key] = self._ask(facts) is not None
        return _answers[key]

    def _ask(self, facts: tuple[Bool, ...]) -> dict[str, Any] | None:
        import z3

        self.queries += 1
        began = time.monotonic()
        assert largest_constant(facts).bit_length() + 2 <= self.width, "a number that the solver would wrap"
        solver = z3.Then(*TACTICS).solver()
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
        return {d.name(): _value(found[d], self.width, z3) for d in found.decls()}


def _key(facts: Sequence[Bool]) -> tuple[int, ...] | None:
    """What names a goal; () for one that always holds, None for one that never does."""
    if any(f is False for f in facts):
        return None
    return tuple(sorted({f.id for f in facts if isinstance(f, Term)}))


def _value(v: Any, width: int, z3: Any) -> Any:
    if z3.is_bool(v):
        return z3.is_true(v)
    return v.as_signed_long() if v.size() == width else v.as_long()

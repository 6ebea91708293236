"""Mutants: every operator finds something to break, and what it breaks is noticed."""

from __future__ import annotations

import pytest
from bench.prove import survivors_said

from peephole.prove.equivalence import first_break
from peephole.prove.language import load_rule, rule_names
from peephole.prove.mutate import OPERATORS, mutants
from peephole.prove.step import DISCIPLINE
from peephole.prove.stories import find_stories


def test_every_operator_applies_to_some_rule_and_names_are_unlike() -> None:
    every = [(m.operator, f"{name} {m.name}") for name in rule_names() for m in mutants(load_rule(name))]
    assert {operator for operator, _ in every} == set(OPERATORS)
    assert len({name for _, name in every}) == len(every)


def test_a_mutant_is_another_text_of_the_same_rule() -> None:
    right = load_rule("coalesce_writes")
    for m in mutants(right):
        assert m.rule.digest != right.digest and m.rule.handlers.keys() == right.handlers.keys()


@pytest.mark.parametrize("name", rule_names())
def test_only_mutants_that_there_are_have_their_survival_explained(name: str) -> None:
    assert survivors_said(name) <= {m.name for m in mutants(load_rule(name))}


@pytest.mark.parametrize("what", ["drop-call settle: k.clear(f)", "drop-guard write: n <= SMALL of"])
def test_a_mutant_that_matters_dies(what: str) -> None:
    mutant = next(m for m in mutants(load_rule("coalesce_writes")) if m.name.startswith(what))
    wanted = {"contents", "results", DISCIPLINE}
    near = {mutant.function}
    assert find_stories(mutant.rule, wanted, 300, focus=near, first=True) or first_break(mutant.rule, near)

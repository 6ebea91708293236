"""Guards that would save a guarantee."""

from __future__ import annotations

import pytest

from peephole.prove.guards import guarded_rules, weakest_guard
from peephole.prove.language import load_rule


def test_guards_stand_in_the_open_of_the_rule() -> None:
    right = load_rule("coalesce_writes")
    guards = {guard: guarded.digest for guard, guarded in guarded_rules(right)}
    assert {"not flags & O_APPEND", "k.size(fd) > 0"} <= guards.keys()
    assert len({right.digest, *guards.values()}) == len(guards) + 1


@pytest.mark.long
def test_records_of_several_appenders_are_saved_by_leaving_logs_alone() -> None:
    found = weakest_guard(load_rule("coalesce_writes"), "append-atomicity")
    assert found and found.guard == "not flags & O_APPEND" and 0 < found.taken_percent <= 100


def test_a_rule_without_an_open_has_no_guards() -> None:
    assert list(guarded_rules(load_rule("exchange_rename"))) == []

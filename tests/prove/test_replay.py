"""Counterexamples on the real kernel: what a story tells is what the kernel shows."""

from __future__ import annotations

import pytest

from peephole.prove.certificate import refute
from peephole.prove.language import load_rule, neighbours_of
from peephole.prove.replay import SHOWN
from peephole.prove.stories import find_stories

SEEN, WRONG = "seen on this kernel: ", ("this kernel does otherwise", "this kernel shows no difference")
TRIALS = 4000


@pytest.mark.parametrize(
    ("rule", "seen"),
    [
        ("coalesce_writes", {"visibility", "atomicity", "survival"}),
        ("truncate_in_place", {"visibility", "atomicity", "survival"}),
    ],
)
def test_what_a_rule_gives_up_is_seen(rule: str, seen: set[str]) -> None:
    stories = find_stories(load_rule(rule), seen, TRIALS)
    assert stories.keys() == seen
    for name, story in stories.items():
        assert story[-1].startswith(SEEN), (name, story)


@pytest.mark.parametrize(
    "neighbour",
    [
        "coalesce_writes/position_without_pending",
        "coalesce_writes/large_write_overtakes",
        "coalesce_writes/pwrite_leaves_the_offset",
        "truncate_in_place/nothing_is_cut",
        "truncate_in_place/append_is_not_put_back",
        "exchange_rename/old_name_stays",
        "exchange_rename/unlink_is_elided",
        "shadow_descriptor/reads_do_not_move",
        "skip_sync/drops_o_sync",
    ],
)
def test_a_neighbours_story_is_not_contradicted(neighbour: str) -> None:
    rule, name = neighbour.split("/")
    found, why = refute(neighbours_of(load_rule(rule))[name])
    assert found, why
    assert not found.story[-1].startswith(WRONG), found.story
    print(found.story[-1])


def test_only_what_a_kernel_can_show_is_replayed() -> None:
    story = find_stories(load_rule("skip_sync"), {"durability"}, TRIALS)["durability"]
    assert "durability" not in SHOWN and not story[-1].startswith((SEEN, *WRONG))

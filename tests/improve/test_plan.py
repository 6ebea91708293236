"""Plans: chosen under consent, written, and read only when they can be trusted."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from peephole.errors import PlanError
from peephole.improve import places, plan_file
from peephole.improve import plan as plans
from peephole.improve.consent import parse
from peephole.improve.losses import Losses
from peephole.improve.places import Place, mounted, profile_of
from peephole.observe.capture import write_capture
from peephole.observe.strace import parse as parse_strace
from peephole.trace import Finding, Meta, Saving

LOST = {"visibility": None, "survival": None}


@pytest.fixture(autouse=True)
def certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates whose losses the test knows; the digest is the rule's name's length."""
    known = {
        "coalesce_writes": Losses("coalesce_writes", "d1", {"weak": LOST, "ext4-ordered": LOST}, {}),
        "truncate_in_place": Losses(
            "truncate_in_place", "d2", {"weak": LOST, "ext4-ordered": LOST | {"crash": None}}, {}
        ),
        "delay": Losses("delay", "d3", {"weak": {"durability": "10ms"}, "ext4-ordered": {"durability": "10ms"}}, {}),
    }
    for module in (plans, plan_file):
        monkeypatch.setattr(module, "losses_of", known.__getitem__)


def finding(rule: str | None, saving_ns: int = 1_000_000) -> Finding:
    saving = Saving(saving_ns, saving_ns // 2, saving_ns * 2)
    return Finding(f"waste-{rule}", "dead", "p", [1], "/f", [], 100, 0, 0, True, 0, saving, rule, [], "")


WEAK = Place(1, ("/w",), "xfs", "weak")
ORDERED = Place(2, ("/e",), "ext4", "ext4-ordered")


def test_without_consent_nothing_is_chosen_and_the_price_of_it_is_told() -> None:
    chosen, declined = plans.choose([finding("coalesce_writes"), finding(None)], [WEAK], parse(None))
    assert not chosen.rules and not chosen.mounts
    (one,) = declined
    assert one.rule == "coalesce_writes" and set(one.missing) == {"visibility", "survival"}
    assert one.saving == Saving(1_000_000, 500_000, 2_000_000)


def test_consent_is_checked_against_the_profile_of_each_mount() -> None:
    found = [finding("truncate_in_place")]
    chosen, declined = plans.choose(found, [WEAK, ORDERED], parse("visibility,survival"))
    assert [m.point for m in chosen.mounts] == ["/w"]
    assert declined[0].missing == ("crash",)
    chosen, declined = plans.choose(found, [WEAK, ORDERED], parse("all"))
    assert [m.point for m in chosen.mounts] == ["/w", "/e"] and not declined


def test_savings_of_one_rule_add_up() -> None:
    chosen, _ = plans.choose([finding("delay"), finding("delay", 5)], [WEAK], parse("durability"))
    assert chosen.rules[0].saving is not None and chosen.rules[0].saving.ns == 1_000_005


def test_what_a_rule_needs_is_planned_with_it_and_has_no_price_of_its_own() -> None:
    found = [replace(finding("delay"), needs=["coalesce_writes"])]
    chosen, declined = plans.choose(found, [WEAK], parse("all"))
    assert {rule.name: rule.findings for rule in chosen.rules} == dict.fromkeys(
        ("delay", "coalesce_writes"), ("waste-delay",)
    )
    assert chosen.prices().keys() == {"delay"} and not declined


def test_a_bound_that_is_too_short_is_missing_consent() -> None:
    assert plans.choose([finding("delay")], [WEAK], parse("durability:10ms"))[0].rules
    _, declined = plans.choose([finding("delay")], [WEAK], parse("durability:9ms"))
    assert declined[0].missing == ("durability:10ms",)


def test_consent_below_a_path_never_reaches_beyond_it() -> None:
    found = [finding("coalesce_writes")]
    chosen, declined = plans.choose(found, [WEAK], parse("all@/w/deep"))
    assert not chosen.rules and "whole mounts" in declined[0].why
    chosen, _ = plans.choose(found, [WEAK, ORDERED], parse("all@/w"))
    assert [m.point for m in chosen.mounts] == ["/w"]
    twice = Place(3, ("/w/inner", "/elsewhere"), "xfs", "weak")
    assert not plans.choose(found, [twice], parse("all@/w"))[0].rules
    assert twice.lies_below(PurePosixPath("/")) and not twice.lies_below(PurePosixPath("/w"))


def here(tmp_path: Path) -> Place:
    dev = tmp_path.stat().st_dev
    return next(place for place in mounted() if place.dev == dev)


def test_a_command_that_writes_no_file_counts_for_its_folders_mount(tmp_path: Path) -> None:
    tables = parse_strace([b'7 openat(AT_FDCWD, "/etc/passwd", O_RDONLY) = 3'])
    meta = Meta([], "import", 0, 0, tables.calls.num_rows, tables.lost)
    capture = write_capture(tmp_path / "capture", tables.calls, tables.processes, tables.gaps, meta)
    assert places.written(capture) == []
    assert [place.dev for place in places.touched(capture, tmp_path)] == [tmp_path.stat().st_dev]


def saved(tmp_path: Path) -> Path:
    chosen, _ = plans.choose([finding("coalesce_writes")], [here(tmp_path)], parse("all"), ("a", 'b"\\\n\x7fü'))
    folder = tmp_path / "own"
    folder.mkdir(mode=0o700, exist_ok=True)
    plan_file.save(chosen, folder / "plan.toml")
    assert plan_file.load(folder / "plan.toml") == chosen
    return folder / "plan.toml"


def test_a_plan_reads_back_as_it_was_written(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_plan_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.chmod(0o602)
    with pytest.raises(PlanError, match="others may write"):
        plan_file.load(path)
    path.chmod(0o600)
    path.parent.chmod(0o770)
    with pytest.raises(PlanError, match=f"others may write to {path.parent}"):
        plan_file.load(path)


def test_a_sticky_folder_is_right_above_the_callers_own(tmp_path: Path) -> None:
    path = saved(tmp_path)
    tmp_path.chmod(0o1777)
    assert plan_file.load(path).rules
    tmp_path.chmod(0o777)
    with pytest.raises(PlanError, match="others may write"):
        plan_file.load(path)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_a_plan_of_another_user_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    os.chown(path, 12345, 12345)
    with pytest.raises(PlanError, match="belongs to user 12345"):
        plan_file.load(path)
    os.chown(path, 0, 0)
    os.chown(path.parent, 12345, 12345)
    with pytest.raises(PlanError, match="belongs to user 12345"):
        plan_file.load(path)


def test_a_link_does_not_hide_where_a_plan_lies(tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.parent.chmod(0o777)
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    with pytest.raises(PlanError, match="others may write"):
        plan_file.load(link)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('certificate = "d1"', 'certificate = "d2"', "certificate of coalesce_writes is not the one"),
        ("version = 1", "version = 2", "version 2"),
        ('schema = "peephole/plan"', 'schema = "x"', "not a plan"),
        ("schema =", "schema", "not a plan"),
        ('consent = "', 'consent = "crash"\nold = "', "consent does not cover"),
        ("dev = ", "dev = 99", "not the mount it was"),
        ("[[rule]]", "[[rules]]", "not among the plan's rules"),
        ('rules = ["coalesce_writes"]', "rules = 3", "damaged"),
    ],
)
def test_an_edited_plan_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = saved(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(PlanError, match=said):
        plan_file.load(path)


def test_no_plan_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="No such file"):
        plan_file.load(tmp_path / "none.toml")


def test_profiles_follow_what_the_mount_promises() -> None:
    assert profile_of(0, "xfs", "rw") == "weak"
    assert profile_of(0, "ext4", "rw,noauto_da_alloc") == "weak"
    assert profile_of(0, "proc", "rw") is None

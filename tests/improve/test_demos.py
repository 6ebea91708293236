"""Each rule's demo, plain and improved: the same file, and the rule acted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import peephole
from peephole.improve.arm import arm

RULES = Path(peephole.__file__).parent / "rules"
#: rules that act on ext4 only
EXT4_ONLY = ("exchange_rename",)
#: rules that act, on a disk, only on files that nobody has changed for a minute (tests/rules/test_cache_stat.py)
OLD_ONLY = ("cache_stat",)


def run_both_ways(rule: str, work: Path, made: Path) -> int:
    """Compile a rule's demo, run it plain and improved in a folder, compare what it leaves; gives the rule's hits."""
    program = made / "demo"
    subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-o", program, RULES / rule / "demo.c"], check=True)
    subprocess.run([program, work / "plain", "500"], check=True)
    with arm([rule]) as armed:
        env = armed.environment(os.environ)
        subprocess.run(
            [program, work / "improved", "500"], env=env, check=True, start_new_session=True
        )  # see test_pipes
        stats = armed.stats()
    assert (work / "improved").read_bytes() == (work / "plain").read_bytes()
    assert sorted(p.name for p in work.iterdir()) == ["improved", "plain"]
    assert stats["not_covered"] == []
    return int(stats["rules"][rule]["hits"])


@pytest.mark.parametrize("rule", sorted(p.parent.name for p in RULES.glob("*/rule.py")))
def test_a_demo_leaves_the_same_file_and_its_rule_acts(rule: str, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    hits = run_both_ways(rule, work, tmp_path)
    assert hits >= 499 or rule in EXT4_ONLY + OLD_ONLY  # a first open finds nothing to save


@pytest.mark.root
@pytest.mark.parametrize("rule", sorted(p.parent.name for p in RULES.glob("*/rule.py")))
def test_a_demo_leaves_the_same_file_on_ext4(rule: str, ext4: Path, tmp_path: Path) -> None:
    work = ext4 / f"demo-{rule}"
    work.mkdir()
    assert run_both_ways(rule, work, tmp_path) >= 499 or rule in OLD_ONLY


def test_reading_a_device_that_never_blocks_settles_nothing(tmp_path: Path) -> None:
    words = ["dd", "if=/dev/zero", f"of={tmp_path}/zeros", "bs=512", "count=1000", "status=none"]
    with arm(["coalesce_writes"]) as armed:
        subprocess.run(words, env=armed.environment(os.environ), check=True)
        counted = armed.stats()["rules"]["coalesce_writes"]
    assert (tmp_path / "zeros").read_bytes() == bytes(512 * 1000)
    assert counted["hits"] >= 990 and counted["settled"] < 50


def test_closing_one_of_two_descriptors_settles_nothing(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    script = f"for i in 1 2 3 4 5; do echo $i > {tmp_path}/f; done"
    with arm(["truncate_in_place"]) as armed:
        words = ["strace", "-f", "-e", "trace=ftruncate", "-o", calls, "bash", "-c", script]
        subprocess.run(words, env=armed.environment(os.environ), check=True)
        assert armed.stats()["rules"]["truncate_in_place"]["hits"] >= 4
    assert (tmp_path / "f").read_text() == "5\n"
    assert "ftruncate(" not in calls.read_text()  # each line is as long as the one before

"""Each rule's demo, plain and improved: the same file, and the rule acted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import peephole
from peephole.improve.arm import arm

RULES = Path(peephole.__file__).parent / "rules"


@pytest.mark.parametrize("rule", sorted(p.parent.name for p in RULES.glob("*/rule.py")))
def test_a_demo_leaves_the_same_file_and_its_rule_acts(rule: str, tmp_path: Path) -> None:
    program = tmp_path / "demo"
    subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-o", program, RULES / rule / "demo.c"], check=True)
    subprocess.run([program, tmp_path / "plain", "500"], check=True)
    with arm([rule]) as armed:
        subprocess.run([program, tmp_path / "improved", "500"], env=armed.environment(os.environ), check=True)
        stats = armed.stats()
    assert (tmp_path / "improved").read_bytes() == (tmp_path / "plain").read_bytes()
    assert stats["rules"][rule]["hits"] >= 499  # a first open finds nothing to save
    assert stats["not_covered"] == []

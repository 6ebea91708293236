"""Rules that run without being trusted: one that does otherwise than the kernel is caught, and the program goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from peephole.prove import change
from peephole.prove.language import RULES

PID = '''"""Remember the pid."""

from peephole.prove.vocabulary import PerProcess, Rule, num, result


class WrongPid(Rule):
    """Remember the pid."""

    relaxes = set()

    class Process(PerProcess):
        known: bool
        pid: num

    def getpid(k, p) -> result:
        if p.known:
            k.hit()
            return p.pid + 1
        r = k.forward()
        p.pid = r
        p.known = True
        return r
'''
ASKS = "import os; print(len({os.getpid() for _ in range(100)}))"
WRITES = "import os; f = os.open('out', os.O_WRONLY | os.O_CREAT); [os.write(f, b'xyz') for _ in range(500)]"
READS = "import os; f = os.open('in', os.O_RDONLY); print(b''.join(iter(lambda: os.read(f, 7), b'')).decode())"


def rule_of(folder: Path, text: str) -> str:
    (folder / "mine").mkdir(mode=0o700)
    (folder / "mine" / "rule.py").write_text(text)
    return "./mine"


def neighbour_of(rule: str, name: str) -> str:
    """The text of a wrong neighbour."""
    return change.apply((RULES / rule / "rule.py").read_text(), RULES / rule / "refuted" / f"{name}.change")[0]


def isolated(folder: Path, rule: str, code: str) -> tuple[str, dict[str, object]]:
    """Run code with one rule that nobody trusts; what it printed and the rule's counters."""
    folder.chmod(0o700)
    words = ["improve", "--rules", "none", "--isolate", rule, "--allow", "all", "--stats", "stats.json", "--"]
    done = subprocess.run(
        [sys.executable, "-m", "peephole", *words, sys.executable, "-S", "-E", "-c", code], cwd=folder, timeout=250,
        env=os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}, stdin=subprocess.DEVNULL, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0 and "isolated, not verified" in done.stderr, done.stderr
    (found,) = json.loads((folder / "stats.json").read_text())["rules"].values()
    assert found["trust"] == "isolated"
    return done.stdout, found


def test_a_wrong_answer_is_caught_and_is_not_given(tmp_path: Path) -> None:
    said, rule = isolated(tmp_path, rule_of(tmp_path, PID), ASKS)
    assert said == "1\n" and rule["switched_off"] == "wrong"


@pytest.mark.parametrize("neighbour", ["lost_at_the_end", "pwrite_leaves_the_offset"])
def test_writes_that_do_not_arrive_are_caught_and_made(tmp_path: Path, neighbour: str) -> None:
    text = neighbour_of("coalesce_writes", neighbour)
    _, rule = isolated(tmp_path, rule_of(tmp_path, text), WRITES)
    assert rule["switched_off"] == "wrong"
    if neighbour == "lost_at_the_end":
        assert (tmp_path / "out").read_bytes() == b"xyz" * 500


def test_bytes_that_do_not_reach_the_program_are_caught(tmp_path: Path) -> None:
    text = "".join(f"{i:06}\n" for i in range(3000))
    (tmp_path / "in").write_text(text)
    wrong = neighbour_of("read_window", "memory_is_not_filled")
    said, rule = isolated(tmp_path, rule_of(tmp_path, wrong), READS)
    # Some have been believed between two looks; what comes after is right.
    assert rule["switched_off"] == "wrong" and said.endswith(text[-700:] + "\n")


@pytest.mark.parametrize(("name", "code"), [("coalesce_writes", WRITES), ("read_window", READS)])
def test_a_right_rule_stays(tmp_path: Path, name: str, code: str) -> None:
    text = "".join(f"{i:06}\n" for i in range(3000))
    (tmp_path / "in").write_text(text)
    said, rule = isolated(tmp_path, name, code)
    assert rule["switched_off"] is None and rule["hits"]
    assert said == text + "\n" if code is READS else (tmp_path / "out").read_bytes() == b"xyz" * 500

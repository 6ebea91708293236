"""Doubts by name, each with advice."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from peephole.evaluate import warnings
from peephole.evaluate.statistics import Figure

ASK = "from peephole.evaluate.recorders import attached; print(*attached(), sep='\\n')"


def figure(ratio: float, low: float, high: float) -> Figure:
    return Figure("s", "lower", 1.0, ratio, ratio, low, high, 0.99, 10)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_tracer_of_our_own_is_seen() -> None:
    words = ["strace", "-f", "-o", "/dev/null", "-e", "trace=none", sys.executable, "-c", ASK]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert "strace (" in done.stdout and "traces peephole" in done.stdout and "is running" in done.stdout


def test_recorders_are_one_warning_with_what_was_seen() -> None:
    assert warnings.of_recorders([]) == []
    (one,) = warnings.of_recorders(["perf (7) is running", "perf (7) is running"])
    assert one.name == "recorder-attached" and one.advice.count("perf (7)") == 1 and "end it" in one.advice


def test_ext4_without_a_journal_is_named_and_others_are_not() -> None:
    mounts = [
        {"point": "/", "fstype": "ext4", "journal": "no"},
        {"point": "/home", "fstype": "ext4", "journal": "yes"},
        {"point": "/tmp", "fstype": "tmpfs", "journal": "unknown"},
    ]
    (one,) = warnings.of_file_systems(mounts)
    assert one.name == "ext4-without-journal" and one.advice.startswith("/ is ext4")
    assert warnings.of_file_systems(mounts[1:]) == []


def test_a_cost_that_moved_is_named_with_where_to() -> None:
    moved = {"cpu": figure(0.5, 0.4, 0.6), "system_cpu": figure(1.3, 1.2, 1.4)}
    (one,) = warnings.of_figures(moved, "cpu")
    assert one.name == "cost-moved" and "system_cpu" in one.advice
    assert warnings.of_figures({"cpu": figure(0.5, 0.4, 0.6), "system_cpu": figure(0.9, 0.7, 1.1)}, "cpu") == []

"""What the interposer costs: nanoseconds a call, milliseconds a start, and how many call sites it can patch.

Plain, with every site patched and no rule, and with every rule acting; the three interleave.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peephole
from peephole import native
from peephole.improve.arm import Armed, arm
from peephole.improve.sites import system_libraries

CALLS = 200_000
ROUNDS = 5  # of each kind of call, interleaved; the least counts
STARTS = 150
COMMANDS = {
    "true": ["/bin/true"],
    "bash": ["/bin/bash", "-c", ":"],
    "python": ["/usr/bin/python3", "-c", "pass"],
}


def _rules() -> list[str]:
    return sorted(path.parent.name for path in (Path(peephole.__file__).parent / "rules").glob("*/rule.py"))


def _call_ns(what: str, env: dict[str, str], file: Path) -> float:
    said = subprocess.run(
        [str(native.path("cost_calls")), what, str(CALLS), str(file)], env=env, capture_output=True, check=True
    ).stdout.split()
    return float(said[0])


def _start_ms(command: list[str], env: dict[str, str]) -> float:
    begin = time.perf_counter_ns()
    os.waitpid(os.posix_spawn(command[0], command, env), 0)
    return (time.perf_counter_ns() - begin) / 1e6


def _interleaved(
    sides: dict[str, dict[str, str]], rounds: int, measure: Callable[[dict[str, str]], float]
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, env in sides.items():
            found[side].append(measure(env))
    return found


def _tiers() -> dict[str, float]:
    """How many sites of this libc and ld.so each kind of patch takes."""
    figures: dict[str, float] = {}
    for path in system_libraries(Path("/lib64/ld-linux-x86-64.so.2"), native.path("peephole-sites")):
        last = subprocess.run(
            [str(native.path("peephole-sites")), str(path)], capture_output=True, text=True, check=True
        ).stdout.splitlines()[-1]
        words = last.replace(":", "").replace(";", "").replace(",", "").split()
        name = path.name.split(".")[0].split("-")[0]
        figures[f"sites_{name}"] = float(words[1])
        for tier in ("none", "T1", "T1r", "T1f", "T2"):
            figures[f"sites_{name}_{tier}"] = float(words[words.index(tier) + 1])
    return figures


def _calls(sides: dict[str, dict[str, str]], folder: Path) -> dict[str, float]:
    figures: dict[str, float] = {}
    for what in ("getppid", "syscall", "lseek", "pread", "write"):
        found = _interleaved(sides, ROUNDS, lambda env, what=what: _call_ns(what, env, folder / "file"))  # type: ignore[misc]
        for side, values in found.items():
            figures[f"{what}_{side}_ns"] = min(values)
    figures["no_rule_ns"] = figures["getppid_none_ns"] - figures["getppid_plain_ns"]
    figures["hook_ns"] = figures["syscall_rules_ns"] - figures["syscall_plain_ns"]
    figures["forwarded_ns"] = figures["lseek_rules_ns"] - figures["lseek_plain_ns"]
    figures["answered_ns"] = figures["write_rules_ns"]
    return figures


def _starts(sides: dict[str, dict[str, str]]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, command in COMMANDS.items():
        if not Path(command[0]).exists():
            continue
        found = _interleaved(sides, STARTS, lambda env, command=command: _start_ms(command, env))  # type: ignore[misc]
        medians = {side: statistics.median(values) for side, values in found.items()}
        for side, value in medians.items():
            figures[f"start_{name}_{side}_ms"] = value
        figures[f"start_{name}_warm_ms"] = medians["rules"] - medians["plain"]
    return figures


def measure() -> dict[str, Any]:
    """Run the benchmark. `*_ns` and `start_*_warm_ms` without a side's name are what is added; answered is absolute."""
    base = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder, arm([]) as none, arm(_rules()) as rules:
        sides = {"plain": base, "none": none.environment(base), "rules": rules.environment(base)}
        figures = _calls(sides, Path(folder)) | _starts(sides) | _tiers()
        figures["sites_patched_share"] = _share(none)
        kind = Path(folder).stat().st_dev
    return {
        "figures": figures,
        "conditions": {
            "kernel": platform.release(),
            "cpus": os.cpu_count(),
            "libc": " ".join(platform.libc_ver()),
            "rules": _rules(),
            "calls": CALLS,
            "rounds": ROUNDS,
            "starts": STARTS,
            "device": f"{os.major(kind)}:{os.minor(kind)}",
        },
    }


def _share(armed: Armed) -> float:
    stats = armed.stats()
    return stats["sites_patched"] / max(1, stats["sites_patched"] + stats["sites_unpatched"])


#: for callers that look for this name
run = measure

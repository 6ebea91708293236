"""The second command of an improved shell: part of `python -m bench rules`.

`git status` of 50,000 files in 500 folders on a fresh ext4, twice in one shell, plain and improved by turns. What
counts is the CPU of the second one, by the shell's own `time`; of the first one it is told what asking costs, and of
the keeper what it takes to examine them all once.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.commands import Commands, run
from bench.images import NoImage, file_system
from bench.servers import SKEWING, NoBench, known_rules
from peephole.evaluate.statistics import interval

FOLDERS, FILES = 500, 100
LOADS = ("cache_stat.git_status",)
OLD_S = 65  # files that were changed within the last minute are asked of the kernel
SHELL = r"""
TIMEFORMAT='%3U %3S'
time git status > /dev/null
sleep 1
time git status
keeper=$(pgrep -f "^[^ ]*peephole-keeper [^ ]* $PPID\$")
awk '{print $14 + $15}' ${keeper:+/proc/$keeper/stat} >&2 < /dev/null
"""


def fill(top: Path) -> None:
    """A repository of small files, all committed, none changed lately."""
    for i in range(FOLDERS):
        folder = top / f"part{i // 25:02}" / f"folder{i:03}"
        folder.mkdir(parents=True)
        for j in range(FILES):
            (folder / f"file{j:03}.txt").write_text(f"{i} {j}\n")
    git = ["git", "-C", str(top), "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0"]
    run(["git", "init", "-q", str(top)])
    run([*git, "add", "-A"])
    run([*git, "commit", "-qm", "all"])
    run(["sync", "-f", top])
    time.sleep(OLD_S)
    run([*git, "status"])


def once(top: Path, rules: str | None) -> tuple[float, float, float, str]:
    """Seconds of CPU of the first and of the second command and of the keeper, and what the second command says."""
    words = ["bash", "-c", SHELL]
    if rules:
        words = [sys.executable, "-m", "peephole", "improve", "--rules", rules, "--allow", "all", "--", *words]
    env = {n: v for n, v in os.environ.items() if n not in SKEWING}
    done = subprocess.run(words, cwd=top, env=env, capture_output=True, text=True, timeout=120)
    try:
        first, second, *keeper = (sum(map(float, line.split())) for line in done.stderr.splitlines())
    except ValueError:
        raise NoBench(f"git status in a shell: {(done.stderr or 'no answer').splitlines()[-1]}") from None
    return first, second, sum(keeper) / os.sysconf("SC_CLK_TCK"), done.stdout


def measure(bench: Commands, loads: Sequence[str]) -> None:
    """Measure the loads into `bench`. Raises NoBench where this can't be done."""
    for load in loads:
        if load.split(".")[0] not in known_rules():
            continue
        try:
            with file_system("ext4", 2 << 30) as top:  # an inode for each file, and for its object
                fill(top / "repository")
                place = top / "repository"
                pairs = [(once(place, None), once(place, "cache_stat")) for _ in range(max(2, bench.asked.pairs))]
        except NoImage as e:
            raise NoBench(str(e)) from None
        for name, which in (("cpu", 1), ("first_cpu", 0)):
            ratio, low, high = interval([b[which] / a[which] for a, b in pairs], fixed=True, seed=1)
            bench.figures |= {f"{load}.{name}_ratio": ratio, f"{load}.{name}_low": low, f"{load}.{name}_high": high}
        bench.figures[f"{load}.keeper_s"] = statistics.median(b[2] for _, b in pairs)
        bench.figures[f"{load}.pairs"] = len(pairs)
        bench.figures[f"{load}.verdict"] = "different" if any(a[3] != b[3] for a, b in pairs) else "same"

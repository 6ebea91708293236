"""What a later command of an improved shell uses: part of `python -m bench rules`.

Some rules remember from one program to the next. The rule is armed once, as `improve` does for a shell; one run learns,
and later ones, each a program of its own, are measured in pairs with plain runs, in random order.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.commands import Commands
from bench.images import NoImage, file_system
from bench.servers import SKEWING, NoBench
from peephole.evaluate.statistics import interval
from peephole.improve.arm import arm

FOLDERS, FILES, FIRSTS = 200, 100, 5
SEED = 20261128
#: load -> its command, from the folder of files on
COMMANDS = {"absent_xattr.ls_again": ("ls", "-lR")}
LOADS = tuple(COMMANDS)


@dataclass(frozen=True)
class Ran:
    """One run: CPU of the program, in seconds, and what it wrote."""

    cpu_s: float
    said: bytes


def fill(top: Path) -> None:
    """20,000 small files; their change times are before the kernel's clock when this returns."""
    for i in range(FOLDERS):
        folder = top / f"folder{i:03}"
        folder.mkdir()
        for j in range(FILES):
            (folder / f"file{j:03}.c").write_text("x")
    time.sleep(0.1)


def run(words: Sequence[str], env: Mapping[str, str], out: Path) -> Ran:
    """Run it once, its output in a file. Raises NoBench when it fails."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    child = os.posix_spawnp(words[0], words, env, file_actions=[(os.POSIX_SPAWN_OPEN, 1, str(out), flags, 0o600)])
    _, status, used = os.wait4(child, 0)
    if status != 0:
        raise NoBench(f"{words[0]} ended with status {status}")
    return Ran(used.ru_utime + used.ru_stime, out.read_bytes())


def pairs(rule: str, words: Sequence[str], count: int, out: Path) -> dict[str, Any]:
    """Figures of `count` pairs after a run that learns, and of FIRSTS such runs. Raises NoBench when outputs differ."""
    plain = {name: value for name, value in os.environ.items() if name not in SKEWING}
    order = random.Random(SEED)
    first, later, hits = [], [], 0
    run(words, plain, out)
    for turn in range(FIRSTS):
        with arm([rule]) as armed:
            improved = armed.environment(plain)
            first.append(run(words, improved, out).cpu_s / run(words, plain, out).cpu_s)
            for _ in range(count if turn == 0 else 0):
                two = [plain, improved]
                order.shuffle(two)
                ran = {env is improved: run(words, env, out) for env in two}
                if ran[True].said != ran[False].said:
                    raise NoBench(f"{words[0]}: the improved run says something else")
                later.append((ran[True].cpu_s, ran[False].cpu_s))
            hits = hits or armed.stats()["rules"][rule]["hits"] // count
    ratio, low, high = interval([a / b for a, b in later], fixed=True, seed=SEED)
    found: dict[str, Any] = {"cpu_ratio": ratio, "cpu_low": low, "cpu_high": high, "pairs": count, "hits_a_run": hits}
    found["first_cpu_ratio"] = statistics.median(first)
    found |= {
        "cpu_after_s": statistics.median(a for a, _ in later),
        "cpu_before_s": statistics.median(b for _, b in later),
    }
    return found


def measure(bench: Commands, loads: Sequence[str]) -> None:
    """Measure the loads into `bench`. Raises NoBench where this can't be done."""
    if not loads:
        return
    try:
        with file_system("ext4", 200 << 20) as top, tempfile.TemporaryDirectory(prefix="peephole-bench-") as made:
            fill(top)
            for load in loads:
                found = pairs(load.split(".")[0], [*COMMANDS[load], str(top)], bench.asked.pairs, Path(made) / "out")
                bench.figures |= {f"{load}.{name}": value for name, value in found.items()}
    except NoImage as e:
        raise NoBench(str(e)) from None

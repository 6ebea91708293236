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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import commands
from bench.commands import Commands
from bench.images import NoImage, file_system
from bench.servers import SKEWING, NoBench, known_rules
from peephole.evaluate.statistics import interval
from peephole.improve.arm import arm

FIRSTS = 5
OLD_S = 65  # files that were changed within the last minute are asked of the kernel
PAUSE_S = 1  # between the first command and the second, as a person makes it
SEED = 20261128


def fill(top: Path, parts: int, folders: int) -> None:
    """Folders of 100 small files; their change times are before the kernel's clock when this returns."""
    for i in range(folders):
        folder = top / f"part{i * parts // folders:02}" / f"folder{i:03}"
        folder.mkdir(parents=True)
        for j in range(100):
            (folder / f"file{j:03}.c").write_text(f"{i} {j}\n")
    time.sleep(0.1)


def fill_repository(top: Path) -> None:
    """50,000 files, all committed, none changed lately."""
    fill(top, 20, 500)
    git = ["git", "-C", str(top), "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0"]
    commands.run(["git", "init", "-q", str(top)])
    commands.run([*git, "add", "-A"])
    commands.run([*git, "commit", "-qm", "all"])
    commands.run(["sync", "-f", top])
    time.sleep(OLD_S)
    commands.run([*git, "status"])


@dataclass(frozen=True)
class Load:
    """A command in a folder, which follows its words, on a file system of so many bytes."""

    words: tuple[str, ...]
    fill: Callable[[Path], None]
    size: int


KNOWN = {
    "absent_xattr.ls_again": Load(("ls", "-lR", "{top}"), lambda top: fill(top, 1, 200), 200 << 20),
    "cache_stat.git_status": Load(("git", "-C", "{top}", "status"), fill_repository, 2 << 30),  # an inode a file
}
LOADS = tuple(KNOWN)


@dataclass(frozen=True)
class Ran:
    """One run: CPU of the program, in seconds, and what it wrote."""

    cpu_s: float
    said: bytes


def run(words: Sequence[str], env: Mapping[str, str], out: Path) -> Ran:
    """Run it once, its output in a file. Raises NoBench when it fails."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    child = os.posix_spawnp(words[0], words, env, file_actions=[(os.POSIX_SPAWN_OPEN, 1, str(out), flags, 0o600)])
    _, status, used = os.wait4(child, 0)
    if status != 0:
        raise NoBench(f"{words[0]} ended with status {status}")
    return Ran(used.ru_utime + used.ru_stime, out.read_bytes())


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def pairs(rule: str, words: Sequence[str], count: int, out: Path) -> dict[str, Any]:
    """Figures of `count` pairs after a run that learns, and of FIRSTS such runs. Raises NoBench when outputs differ."""
    plain = {name: value for name, value in os.environ.items() if name not in SKEWING}
    order = random.Random(SEED)
    first, keeper_s, later, hits = [], [], [], 0
    run(words, plain, out)
    for turn in range(FIRSTS):
        with arm([rule]) as armed:
            improved = armed.environment(plain)
            first.append(run(words, improved, out).cpu_s / run(words, plain, out).cpu_s)
            time.sleep(PAUSE_S)
            keeper_s.append(cpu_of(armed.control.keeper_pid))
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
    return found | {
        "first_cpu_ratio": statistics.median(first),
        "keeper_s": statistics.median(keeper_s),  # what the keeper used for the first one
        "cpu_after_s": statistics.median(a for a, _ in later),
        "cpu_before_s": statistics.median(b for _, b in later),
    }


def measure(bench: Commands, loads: Sequence[str]) -> None:
    """Measure the loads into `bench`. Raises NoBench where this can't be done."""
    for load in loads:
        rule = load.split(".")[0]
        if rule not in known_rules():
            continue
        try:
            with file_system("ext4", KNOWN[load].size) as top, tempfile.TemporaryDirectory(prefix="peephole-") as made:
                KNOWN[load].fill(top / "files")
                words = [word.format(top=top / "files") for word in KNOWN[load].words]
                found = pairs(rule, words, max(2, bench.asked.pairs), Path(made) / "out")
        except NoImage as e:
            raise NoBench(str(e)) from None
        bench.figures |= {f"{load}.{name}": value for name, value in found.items()}

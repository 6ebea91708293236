"""What rules that are not there could gain at most: relays in the kernel, and files that take a removed one's place.

Each is a C program that does the same work in several ways: as programs do it, as a rule would have to do it to change
nothing that the program or others may see, and in ways that do change that. Ratios are of CPU, against the first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.images import NoImage, file_system
from bench.servers import NoBench, compiled
from peephole.evaluate import conditions
from peephole.evaluate.statistics import interval

HERE = Path(__file__).parent
ROUNDS = 7
#: load -> bytes of a piece, and how many of them
RELAYS = {"relay_64k": (65536, 30_000), "relay_4k": (4096, 60_000)}
WAYS = {"relay": ("copy", "splice", "kept", "sockmap"), "removed": ("plain", "aside", "renamed", "same")}
FILES = 6000

Run = Callable[[str], dict[str, float]]


def options(words: list[str]) -> argparse.Namespace:
    """The bench's own options."""
    parser = argparse.ArgumentParser(prog="python -m bench bounds")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"runs of each way, in turns (default {ROUNDS})")
    return parser.parse_args(words)


def said(words: list[str]) -> dict[str, float]:
    """What a program measured. Raises NoBench when it failed, or the bytes were not those that they should be."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        why = done.stderr.strip() or "it found other bytes than it should"
        raise NoBench(f"{Path(words[0]).name} {' '.join(words[1:])}: {why}")
    return dict(json.loads(done.stdout))


def compared(load: str, ways: tuple[str, ...], rounds: int, run: Run) -> dict[str, Any]:
    """Figures of one load: microseconds of the first way, and each other one's ratio to it, with its interval."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for turn in range(rounds):
        for way in ways if turn % 2 == 0 else reversed(ways):
            found[way].append(run(way))
    figures: dict[str, Any] = {}
    for clock in found[ways[0]][0]:
        for way in ways[1:]:
            ratios = [after[clock] / before[clock] for before, after in zip(found[ways[0]], found[way], strict=True)]
            estimate = interval(ratios, fixed=True, seed=0)
            name = f"{load}.{way}." + ("cpu_ratio" if clock == "own_us" else "machine_cpu_ratio")
            figures |= dict(zip((name, f"{name}_low", f"{name}_high"), estimate, strict=True))
        figures[f"{load}.{ways[0]}.{clock}"] = sorted(one[clock] for one in found[ways[0]])[rounds // 2]
    return figures


def removed(program: Path, way: str) -> dict[str, float]:
    """One run of `removed` on a file system of its own."""
    with file_system("ext4") as folder:
        return said([str(program), way, str(folder), str(FILES)])


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """Figures: LOAD.WAY.cpu_ratio, and machine_cpu_ratio, the whole machine's CPU, where others do the work."""
    figures: dict[str, Any] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="peephole-bounds-") as own:
            relay, files = (compiled(HERE / f"{name}.c", Path(own)) for name in WAYS)
            for load, (size, count) in RELAYS.items():

                def relayed(way: str, words: tuple[str, str] = (str(size), str(count))) -> dict[str, float]:
                    return said([str(relay), way, *words])

                figures |= compared(load, WAYS["relay"], asked.rounds, relayed)
            figures |= compared("removed", WAYS["removed"], asked.rounds, lambda way: removed(files, way))
    except NoImage as e:
        raise NoBench(str(e)) from e
    return {"figures": figures, "conditions": conditions.machine() | {"rounds": asked.rounds}}

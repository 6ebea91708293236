"""The paper's tables 1, 2 and 3 again: the same call sequences, ten thousand times each, on the file systems of today.

Before anything is timed each variant is checked: it must leave the file that the paper's first sequence leaves. The
mapping that the paper prints is private, so nothing that is copied into it reaches the file; a shared one stands beside
it, and the ratios are the shared one's. `python -m bench paper` prints the tables in the paper's form.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.images import KINDS, NoImage, file_system
from bench.servers import NoBench, compiled, installed
from peephole.evaluate import conditions

ITERATIONS = 10_000
BYTES = 16384
ROUNDS = 5  # of which the medians are taken
SOURCE = Path(__file__).with_name("sequences.c")
TOOLS = {"xfs": ("mkfs.xfs", "xfsprogs"), "btrfs": ("mkfs.btrfs", "btrfs-progs")}
#: table -> the sequence that writes, the paper's mapping, and the mapping that does what was meant
TABLES = {
    1: ("truncate_write", "map_private", "map_shared"),
    2: ("truncate_write", "cases_private", "cases_shared"),
    3: ("inplace_write", "cases_private", "cases_shared"),
}
#: what the paper found: seconds of the writing function and of the mapping one
PAPER = {1: (542.86, 186.60), 2: (802.44, 343.15), 3: (396.32, 364.06)}
NAMES = {1: "openWriteCloseTest", 2: "writeTest", 3: "writeTest"}


@dataclass(frozen=True)
class Times:
    """Wall seconds of one comparison: both functions, and the rest of the program; medians of the rounds."""

    write_s: float
    mmap_s: float
    main_s: float
    ratio: float  # mmap/write, the median of the rounds'
    cpu_ratio: float


def left_behind(program: Path, table: int, variant: str, folder: Path) -> bytes:
    """What a variant leaves in the file after three iterations."""
    file = folder / "checked"
    subprocess.run([str(program), "check", str(table), variant, str(file), str(BYTES)], check=True)
    return file.read_bytes()


def equivalent(program: Path, folder: Path) -> dict[str, bool]:
    """For each table and variant, whether the file is as the paper's first sequence leaves it."""
    found = {}
    for table, variants in TABLES.items():
        wanted = left_behind(program, table, "truncate_write", folder)
        for variant in variants:
            found[f"table{table}.{variant}"] = left_behind(program, table, variant, folder) == wanted
    return found


def timed(program: Path, table: int, write: str, mapped: str, folder: Path) -> list[dict[str, float]]:
    """The times of each round, both functions in one process as in the paper."""
    words = [str(program), "measure", str(table), write, mapped, str(folder / "timed"), str(ITERATIONS), str(BYTES)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return [json.loads(done.stdout)]


def times_of(figures: dict[str, Any], stem: str) -> Times:
    """The times that `figures_of` wrote down."""
    scale = ITERATIONS / 1e6
    return Times(
        figures[f"{stem}.first_us"] * scale,
        figures[f"{stem}.second_us"] * scale,
        figures[f"{stem}.main_s"],
        figures[f"{stem}.ratio"],
        figures[f"{stem}.cpu_ratio"],
    )


def times(rounds: list[dict[str, float]]) -> Times:
    """Medians over rounds."""
    return Times(
        median(one["write_s"] for one in rounds),
        median(one["mmap_s"] for one in rounds),
        median(one["whole_s"] - one["write_s"] - one["mmap_s"] for one in rounds),
        median(one["mmap_s"] / one["write_s"] for one in rounds),
        median(one["mmap_cpu_s"] / one["write_cpu_s"] for one in rounds),
    )


def comparisons() -> dict[str, tuple[int, str, str]]:
    """name -> (table whose sizes are written, one sequence, the other)."""
    found = {f"table{table}.private": (table, write, private) for table, (write, private, _) in TABLES.items()}
    found |= {f"table{table}": (table, write, shared) for table, (write, _, shared) in TABLES.items()}
    # What the paper concludes: it is the truncation that costs. The rule truncate_in_place does this.
    return found | {"in_place": (1, "truncate_write", "inplace_write")}


def on(program: Path, folder: Path) -> dict[str, Times]:
    """Every comparison on the file system of `folder`, in turns."""
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in comparisons()}
    for _ in range(ROUNDS):
        for name, (table, write, mapped) in comparisons().items():
            rounds[name] += timed(program, table, write, mapped, folder)
    return {name: times(found) for name, found in rounds.items()}


def everywhere() -> tuple[dict[str, dict[str, Times]], dict[str, dict[str, bool]], dict[str, str]]:
    """On each kind of file system: times, which variants are equivalent; and why the others could not be mounted."""
    found: dict[str, dict[str, Times]] = {}
    same: dict[str, dict[str, bool]] = {}
    why_not: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="peephole-paper-") as own:
        program = compiled(SOURCE, Path(own))
        for kind in chosen():
            try:
                if kind in TOOLS:
                    installed(TOOLS[kind][0], packages=TOOLS[kind][1])
                with file_system(kind) as folder:
                    same[kind] = equivalent(program, folder)
                    found[kind] = on(program, folder)
            except (NoImage, NoBench) as e:
                why_not[kind] = str(e)
    if not found:
        raise NoBench("; ".join(f"{kind}: {why}" for kind, why in why_not.items()))
    return found, same, why_not


def chosen() -> list[str]:
    """The kinds of file systems: all, or those that PEEPHOLE_PAPER names."""
    asked = os.environ.get("PEEPHOLE_PAPER", "")
    return [kind for kind in KINDS if not asked or kind in asked.split(",")]


def figures_of(kind: str, found: dict[str, Times], same: dict[str, bool]) -> dict[str, Any]:
    """Figures of one file system; `time_saved` is a share of the first sequence's time."""
    figures: dict[str, Any] = {}
    for name, one in found.items():
        table, _, what = name.partition(".")
        stem = f"{table}.{kind}" + (f".{what}" if what else "")
        figures |= {
            f"{stem}.ratio": one.ratio,
            f"{stem}.time_saved": 1 - one.ratio,
            f"{stem}.cpu_ratio": one.cpu_ratio,
            f"{stem}.first_us": one.write_s / ITERATIONS * 1e6,
            f"{stem}.second_us": one.mmap_s / ITERATIONS * 1e6,
            f"{stem}.main_s": one.main_s,
        }
    return figures | {f"equivalent.{kind}.{name}": value for name, value in same.items()}


def measure() -> dict[str, Any]:
    """Figures: table{1,2,3}.FS.{ratio,time_saved} of the shared mapping against writing, .private of the paper's own,
    in_place.FS of writing without truncation against with, and equivalent.FS.table{1,2,3}.VARIANT."""
    found, same, why_not = everywhere()
    figures: dict[str, Any] = {}
    for kind, one in found.items():
        figures |= figures_of(kind, one, same[kind])
    about = {"iterations": ITERATIONS, "bytes": BYTES, "rounds": ROUNDS, "images": "loop-mounted files in memory"}
    return {"figures": figures, "conditions": conditions.machine() | about | {"not_mounted": why_not}}


def table_text(table: int, one: Times) -> str:
    """A table in the paper's form; seconds are wall-clock, per call microseconds."""
    whole_s = one.write_s + one.mmap_s + one.main_s
    rows = sorted(((one.write_s, NAMES[table]), (one.mmap_s, "mmapTest")), reverse=True)
    lines = [" % time  inclusive  exclusive   calls  us/call  name"]
    inclusive = 0.0
    for seconds, name in [*rows, (one.main_s, "main")]:
        inclusive += seconds
        calls = 1 if name == "main" else ITERATIONS
        share = 100 * seconds / whole_s
        lines.append(f"{share:7.2f} {inclusive:10.4f} {seconds:10.4f} {calls:7d} {seconds / calls * 1e6:8.1f}  {name}")
    return "\n".join(lines)


def show(found: dict[str, dict[str, Times]], same: dict[str, dict[str, bool]], why_not: dict[str, str]) -> str:
    """All tables as text, each with what the mapping leaves in the file."""
    parts = []
    for kind, times_of in found.items():
        for table, (_, private, shared) in TABLES.items():
            for name, variant in ((f"table{table}.private", private), (f"table{table}", shared)):
                kept = "the file is as it should be" if same[kind][f"table{table}.{variant}"] else "THE DATA IS LOST"
                one = times_of[name]
                said = f"mmap/write {one.ratio:.2f}, the paper {PAPER[table][1] / PAPER[table][0]:.2f}"
                parts.append(f"Table {table} on {kind}, {variant}: {said}; {kept}\n{table_text(table, one)}")
        one = times_of["in_place"]
        parts.append(f"Not truncating on {kind}: {one.ratio:.2f} of the time, {1 - one.ratio:.0%} saved")
    parts += [f"{kind} could not be mounted: {why}" for kind, why in why_not.items()]
    return "\n\n".join(parts)


def main() -> int:
    """The tables for people."""
    try:
        print(show(*everywhere()))
    except NoBench as e:
        print(f"bench paper: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench paper: interrupted; everything is unmounted and removed", file=sys.stderr)
        return 130
    return 0

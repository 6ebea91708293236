"""How often the verdict is wrong: programs against themselves, and against doing 5 % less, beside a busy process.

Each evaluation is one of `peephole evaluate`: pairs until the answer is clear, at most 25. The work of both programs
is set by a number: a compiled loop, and one of Python, whose processes differ by some percent from each other. The
figures are sums over both; each program's own stand beside them. PEEPHOLE_VERDICTS=RUNS:PROGRAM takes a part; with
PEEPHOLE_VERDICTS_LOG=FILE a run goes on where an interrupted one ended.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peephole.evaluate import conditions, statistics
from peephole.evaluate.pairs import Pairs
from peephole.evaluate.workload import Workload

EFFECT = 0.95
#: program -> evaluations of each kind; about 0.1 s a run
RUNS = {"spin": 50, "python": 10}
SPIN_ROUNDS = 500_000_000
PYTHON_ROUNDS = 4_000_000
SPIN = Path(__file__).parent / "programs" / "spin.c"
LOOP = "import os\nfor i in range(int(os.environ['ROUNDS'])): pass"


@contextmanager
def busy() -> Iterator[None]:
    """A second process that is always running, as on a machine that is in use."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            yield
        finally:
            other.kill()


def commands(folder: Path) -> dict[str, tuple[tuple[str, ...], int]]:
    """Program -> its words (the number of rounds is in $ROUNDS) and its rounds."""
    spin = folder / "spin"
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-o", str(spin), str(SPIN)], check=True)
    return {
        "spin": (("/bin/sh", "-c", f'exec {spin} "$ROUNDS"'), SPIN_ROUNDS),
        "python": ((sys.executable, "-I", "-S", "-c", LOOP), PYTHON_ROUNDS),
    }


def evaluate(command: tuple[str, ...], rounds: int, effect: float, seed: int) -> tuple[str, int, int]:
    """The verdict when "after" does `effect` of the work, the pairs it took, and the runs a side in each."""
    with tempfile.TemporaryDirectory() as folder:
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        before, after = env | {"ROUNDS": str(rounds)}, env | {"ROUNDS": str(round(rounds * effect))}
        workload = Workload(command, Path(folder), before)
        pairs = Pairs(workload, before, after, Path(folder), seed)
        word = statistics.verdict(pairs.measure(), "cpu")[0]
        return word, len(pairs.done), pairs.repeat or 1


def chosen() -> dict[str, int]:
    """How many evaluations of each program: all, or what PEEPHOLE_VERDICTS says."""
    words = os.environ.get("PEEPHOLE_VERDICTS", "")
    if not words:
        return RUNS
    count, _, name = words.partition(":")
    return {one: int(count) for one in RUNS if name in ("", one)}


def kept() -> list[dict[str, Any]]:
    """The evaluations in PEEPHOLE_VERDICTS_LOG, a line of JSON each: what an interrupted run had done."""
    log = os.environ.get("PEEPHOLE_VERDICTS_LOG", "")
    return [json.loads(line) for line in Path(log).read_text().splitlines()] if log and Path(log).exists() else []


def keep(one: dict[str, Any], number: int, count: int) -> None:
    """Say what was found, and write it to the log if there is one."""
    print("{program} {kind} {0} of {1}: {verdict} after {pairs} pairs".format(number, count, **one), file=sys.stderr)
    if log := os.environ.get("PEEPHOLE_VERDICTS_LOG"):
        with Path(log).open("a") as lines:
            lines.write(json.dumps(one) + "\n")


def figures_of(done: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of evaluations: how many of each kind, how many were wrong or right, and the pairs they took."""
    figures: dict[str, Any] = {"aa_runs": 0, "aa_false": 0, "effect_runs": 0, "effect_found": 0}
    for name, kind in dict.fromkeys((one["program"], one["kind"]) for one in done):
        found = [one for one in done if (one["program"], one["kind"]) == (name, kind)]
        wrong = "false" if kind == "aa" else "found"
        hits = sum(one["verdict"] != "no-gain" if kind == "aa" else one["verdict"] == "gain" for one in found)
        figures[f"{kind}_runs"] += len(found)
        figures[f"{kind}_{wrong}"] += hits
        figures[f"{name}.{kind}_runs"] = len(found)
        figures[f"{name}.{kind}_{wrong}"] = hits
        figures[f"{name}.{kind}_pairs"] = sum(one["pairs"] for one in found) / len(found)
        figures[f"{name}.{kind}_runs_a_side"] = sum(one["repeat"] for one in found) / len(found)
    return figures


def measure() -> dict[str, Any]:
    """Figures: aa_runs, aa_false (a gain or loss where there is none), effect_runs, effect_found; pairs they took."""
    done = kept()
    known = {(one["program"], one["kind"], one["seed"]) for one in done}
    with tempfile.TemporaryDirectory() as folder, busy():
        for name, (command, rounds) in commands(Path(folder)).items():
            count = chosen().get(name, 0)
            for seed, (kind, effect) in itertools.product(range(count), (("aa", 1.0), ("effect", EFFECT))):
                if (name, kind, seed) in known:
                    continue
                word, pairs, repeat = evaluate(command, rounds, effect, seed)
                one = {"program": name, "kind": kind, "seed": seed, "verdict": word, "pairs": pairs, "repeat": repeat}
                keep(one, seed + 1, count)
                done.append(one)
    about = {"effect": EFFECT, "smallest_effect": statistics.SMALLEST_EFFECT, "beside": "one busy process"}
    return {"figures": figures_of(done), "conditions": conditions.machine() | about}

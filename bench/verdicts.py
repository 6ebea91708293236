"""How often the verdict is wrong: programs against themselves, and against doing 5 % less, beside a busy process.

Each evaluation is one of `peephole evaluate`: pairs until the answer is clear, at most 25. The work of both programs
is set by a number: a compiled loop, and one of Python, whose processes differ by some percent from each other. The
figures are sums over both; each program's own stand beside them. PEEPHOLE_VERDICTS=RUNS:PROGRAM takes a part.
"""

from __future__ import annotations

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


def measure() -> dict[str, Any]:
    """Figures: aa_runs, aa_false (a gain or loss where there is none), effect_runs, effect_found; pairs they took."""
    figures: dict[str, Any] = {"aa_runs": 0, "aa_false": 0, "effect_runs": 0, "effect_found": 0}
    first_seed = int(os.environ.get("PEEPHOLE_VERDICTS_SEED", "0"))
    with tempfile.TemporaryDirectory() as folder, busy():
        for name, (command, rounds) in commands(Path(folder)).items():
            count = chosen().get(name, 0)
            for kind, effect, wrong in (("aa", 1.0, "false"), ("effect", EFFECT, "found")):
                found = [evaluate(command, rounds, effect, first_seed + seed) for seed in range(count)]
                hits = sum(word != "no-gain" if kind == "aa" else word == "gain" for word, _, _ in found)
                figures[f"{kind}_runs"] += count
                figures[f"{kind}_{wrong}"] += hits
                figures[f"{name}.{kind}_runs"] = count
                figures[f"{name}.{kind}_{wrong}"] = hits
                figures[f"{name}.{kind}_pairs"] = sum(pairs for _, pairs, _ in found) / max(count, 1)
                figures[f"{name}.{kind}_runs_a_side"] = sum(repeat for _, _, repeat in found) / max(count, 1)
    about = {"effect": EFFECT, "smallest_effect": statistics.SMALLEST_EFFECT, "beside": "one busy process"}
    return {"figures": figures, "conditions": conditions.machine() | about}

"""How often the verdict is wrong: a command against itself, and against one that does 10 % less.

Each evaluation is one of `peephole evaluate`, in short: pairs until the answer is clear.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from peephole.evaluate import conditions, statistics
from peephole.evaluate.pairs import Pairs
from peephole.evaluate.workload import Workload

AA_RUNS = 20
EFFECT_RUNS = 10
ROUNDS = 2_000_000  # some 80 ms: starting the interpreter must not hide the effect
EFFECT = 0.90
WORK = "import os\nfor i in range(int(os.environ['ROUNDS'])): pass"


def evaluate(effect: float, seed: int) -> str:
    """The verdict on a loop whose "after" does `effect` of the work."""
    with tempfile.TemporaryDirectory() as folder:
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        before = env | {"ROUNDS": str(ROUNDS)}
        after = env | {"ROUNDS": str(round(ROUNDS * effect))}
        workload = Workload((sys.executable, "-I", "-S", "-c", WORK), Path(folder), before)
        pairs = Pairs(workload, before, after, Path(folder), seed)
        return statistics.verdict(pairs.measure(), "cpu")[0]


def measure() -> dict[str, Any]:
    """Figures: aa_runs, aa_false (a gain or loss where there is none), effect_runs, effect_found."""
    same = [evaluate(1.0, seed) for seed in range(AA_RUNS)]
    less = [evaluate(EFFECT, 1000 + seed) for seed in range(EFFECT_RUNS)]
    return {
        "figures": {
            "aa_runs": AA_RUNS,
            "aa_false": sum(word != "no-gain" for word in same),
            "effect_runs": EFFECT_RUNS,
            "effect_found": sum(word == "gain" for word in less),
        },
        "conditions": conditions.machine() | {"effect": EFFECT, "smallest_effect": statistics.SMALLEST_EFFECT},
    }

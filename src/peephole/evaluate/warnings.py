"""What makes the figures doubtful, by name, each with advice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from peephole.evaluate import statistics
from peephole.evaluate.pairs import Pair, Pairs
from peephole.evaluate.workload import Workload

NOISE = 0.10  # relative spread of the unchanged runs beyond which single pairs say little
DRIFT = 0.05  # relative change over the series beyond which the machine was not the same at its end
OTHERS = 0.5  # share of the machine's CPU time that others may take before wall and system_cpu mean little
SHORT_S = 0.010  # below this, starting a process is most of what is measured
SKEWED = {
    "PYTHONUNBUFFERED": "every print becomes a write, so Python's figures are not those of a usual run; "
    "unset it unless that is how the program is run",
    "PYTHONDONTWRITEBYTECODE": "modules are compiled again in each run, which hides gains; "
    "unset it unless that is how the program is run",
}


@dataclass(frozen=True)
class Warning:
    """A named doubt and what to do about it."""

    name: str
    advice: str


def of_environment(env: dict[str, str]) -> list[Warning]:
    """Variables that skew figures."""
    return [Warning(f"{name}-set", advice) for name, advice in SKEWED.items() if env.get(name)]


def of_recorders(seen: Iterable[str]) -> list[Warning]:
    """Recorders that were seen before or after the runs."""
    found = list(dict.fromkeys(seen))
    if not found:
        return []
    advice = f"{'; '.join(found)}: calls cost more while something records them, which makes gains look larger; end it"
    return [Warning("recorder-attached", advice)]


def of_file_systems(mounts: Iterable[dict[str, str]]) -> list[Warning]:
    """ext4 without a journal: creating files is slow there, and a truncating rewrite is not what it is elsewhere."""
    points = [mount["point"] for mount in mounts if mount["fstype"] == "ext4" and mount.get("journal") == "no"]
    if not points:
        return []
    return [
        Warning(
            "ext4-without-journal",
            f"{', '.join(points)} is ext4 without a journal, where creating, emptying and flushing files cost other "
            "than usual; put the command's files on a journalled file system (or ignore this if it writes none)",
        )
    ]


def of_figures(figures: dict[str, statistics.Figure], primary: str) -> list[Warning]:
    """A cost that moved: the primary figure is better, another that matters is worse."""
    main = figures.get(primary)
    if main is None or not main.is_better():
        return []
    worse = [name for name in statistics.GUARDS if name != primary and name in figures and figures[name].is_worse()]
    if not worse:
        return []
    return [
        Warning(
            "cost-moved",
            f"{primary} is better but {' and '.join(worse)} worse: other processes or the kernel now do the work; "
            "leave out the rules that move it (--rules), or decide by that figure (--primary)",
        )
    ]


def of_pairs(pairs: Pairs) -> list[Warning]:
    """Noise, drift, other programs' load, too few pairs, processes left behind."""
    done = pairs.done
    found: list[Warning] = []
    if len(done) >= 2 and not statistics.enough_pairs(len(done), pairs.fixed is not None):
        found.append(
            Warning(
                "few-pairs",
                f"{len(done)} pairs are too few for an interval without assumptions; it takes the logarithms of the "
                f"ratios as normal. Use -n {statistics.LOOKS[0]} or more",
            )
        )
    if len(done) >= 5:
        found += _noise(done) + _drift(done)
    if done:
        found += _load(done) + _short(done, pairs.workload) + _left(done) + _killed(done, pairs.workload)
    if pairs.varies is not None:
        advice = f"two unchanged runs differ in it ({pairs.varies}), so it was not compared; let the driver print only "
        advice += "what the server answers, and its figures as one JSON object on the last line"
        found.append(Warning("driver-varies", advice))
    return found


def _values(done: list[Pair], name: str) -> list[float]:
    return [pair.before.figures[name] for pair in done]


def _noise(done: list[Pair]) -> list[Warning]:
    import numpy as np

    found = []
    for name in ("cpu", "wall"):
        values = np.array(_values(done, name))
        middle = float(np.median(values))
        spread = 1.4826 * float(np.median(np.abs(values - middle))) / middle if middle > 0 else 0.0
        if spread > NOISE:
            found.append(
                Warning(
                    f"noisy-{name}",
                    f"{name} of the unchanged runs varies by {spread:.0%}; stop other work on the machine, "
                    "or make the workload longer",
                )
            )
    return found


def _drift(done: list[Pair]) -> list[Warning]:
    import numpy as np
    from scipy import stats

    found = []
    for name in ("cpu", "wall"):
        values = np.array(_values(done, name))
        if values.min() <= 0 or values.min() == values.max():
            continue
        slope = stats.theilslopes(np.log(values)).slope
        change = float(np.expm1(slope * (len(values) - 1)))
        trend = stats.kendalltau(np.arange(len(values)), values).pvalue
        if abs(change) > DRIFT and trend < 0.01:
            found.append(
                Warning(
                    f"drift-{name}",
                    f"{name} of the unchanged runs changed by {change:+.0%} over the series; each run may change the "
                    "state of the next (use --fresh), or the machine slowed down",
                )
            )
    return found


def _load(done: list[Pair]) -> list[Warning]:
    import numpy as np

    machine = float(np.median(_values(done, "system_cpu")))
    own = float(np.median(_values(done, "cpu")))
    if machine > 0.05 and (machine - own) / machine > OTHERS:
        return [
            Warning(
                "other-load",
                f"{(machine - own) / machine:.0%} of the machine's CPU time over the runs was not the command's: "
                "other programs ran, or the kernel worked for it; read wall and system_cpu with care",
            )
        ]
    return []


def _short(done: list[Pair], workload: Workload) -> list[Warning]:
    if workload.drive or max(_values(done, "wall")) >= SHORT_S:
        return []
    return [
        Warning("short-run", f"a run takes less than {SHORT_S * 1000:.0f} ms, mostly start-up; give it more work to do")
    ]


def _killed(done: list[Pair], workload: Workload) -> list[Warning]:
    if not any(pair.before.killed or pair.after.killed for pair in done):
        return []
    advice = f"the server did not end within {workload.grace_s:g} s of TERM and was killed; what it does at its end is "
    return [Warning("server-killed", advice + "not in the figures (--grace gives it longer)")]


def _left(done: list[Pair]) -> list[Warning]:
    left = max(max(pair.before.left_behind, pair.after.left_behind) for pair in done)
    if not left:
        return []
    return [
        Warning(
            "left-behind",
            f"{left} processes of the command outlived it by more than --grace and were killed; "
            "what they still would have done is not in the figures",
        )
    ]

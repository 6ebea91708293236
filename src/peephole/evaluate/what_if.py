"""What the time of some calls is worth to a program: they are made dearer, and the runs tell how much longer they take.

If each second that is added to the calls makes a run a second longer, they lie on the critical path, and a second taken
from them makes it a second shorter. If the run stays as long as it was, other work or waiting hides them. (Causal
profiling turns that round, too: Curtsinger and Berger, Coz, SOSP 2015.)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from peephole.errors import RunError
from peephole.evaluate.run import last_words, run
from peephole.evaluate.workload import Workload

#: the largest delay adds this share of an undelayed run, so that the slope stands out from the noise
MOST_ADDED = 0.4
#: sizes of the delay, in parts of the largest; a straight line through fewer could be chance
SIZES = (0.0, 1 / 3, 2 / 3, 1.0)
#: the runtime's clock is read every tenth of a microsecond or so
LEAST_NS = 300
MOST_NS = 50_000_000
ROUNDS = 6
CONFIDENCE = 0.95
#: calls with a slope below this are hidden, above it they are on the critical path of some thread
SHOWS = 0.25


class Delays(Protocol):
    """Who delays: `peephole.improve.arm.Armed`."""

    def delay(self, calls: Collection[int], ns: int) -> None: ...
    def delayed(self) -> int: ...


@dataclass(frozen=True)
class Point:
    """One run: seconds that were added to its calls, in all threads and processes; how long it took."""

    added_s: float
    wall_s: float
    calls: int


@dataclass(frozen=True)
class Slope:
    """Seconds that a run takes longer for each second added to its calls, with the interval of CONFIDENCE."""

    ratio: float
    low: float
    high: float
    base_s: float  # an undelayed run
    calls: int  # delayed in one run
    sizes_ns: list[int]
    runs: int

    @property
    def verdict(self) -> str:
        """`critical`, `hidden`, or `unclear` when the interval holds both."""
        if self.low > SHOWS:
            return "critical"
        return "hidden" if self.high < SHOWS else "unclear"


def slope_of(points: list[Point], sizes_ns: list[int]) -> Slope:
    """The line through the points, by the median of the slopes between them (Theil and Sen): outliers don't bend it."""
    from scipy.stats import theilslopes

    found = theilslopes([p.wall_s for p in points], [p.added_s for p in points], CONFIDENCE)
    undelayed = sorted(p.wall_s for p in points if p.added_s == 0)
    calls = sorted(p.calls for p in points)[len(points) // 2]
    base_s = undelayed[len(undelayed) // 2]
    return Slope(
        float(found.slope), float(found.low_slope), float(found.high_slope), base_s, calls, sizes_ns, len(points)
    )


def measure(
    workload: Workload,
    env: dict[str, str],
    delays: Delays,
    calls: Collection[int],
    folder: Path,
    rounds: int = ROUNDS,
    seed: int = 0,
    on_run: Callable[[str], None] = lambda what: None,
) -> Slope:
    """Run the workload with delays of several sizes at calls of these numbers, in random order.

    `env` brings the runtime of `delays` into it. Raises RunError when a run fails, or makes none of the calls.
    """

    def one(name: str, ns: int) -> Point:
        on_run(name)
        delays.delay(calls, max(1, ns))
        done = run(workload, env, folder / name)
        if done.timed_out or done.exit_code != expected[0] or (workload.drive and done.drive_exit != 0):
            raise RunError(f"{workload.command[0]}: a run ended otherwise than the first{last_words(done.stderr)}")
        n = delays.delayed()
        return Point(ns * n / 1e9 if ns > 1 else 0.0, done.figures["wall"], n)

    delays.delay(calls, 1)
    on_run("warm-up")
    first = run(workload, env, folder / "warm-up")
    expected = [first.exit_code]
    warm = one("undelayed", 1)
    if warm.calls == 0:
        raise RunError(f"{workload.command[0]}: none of the calls was seen in it; see what `peephole improve` covers")
    largest_ns = min(MOST_NS, max(len(SIZES) * LEAST_NS, round(MOST_ADDED * warm.wall_s * 1e9 / warm.calls)))
    sizes_ns = [round(part * largest_ns) for part in SIZES]
    order = random.Random(seed)
    points = []
    for turn in range(rounds):
        for ns in order.sample(sizes_ns, len(sizes_ns)):
            points.append(one(f"{turn + 1:02d}-{ns}", ns))
    return slope_of(points, sizes_ns)

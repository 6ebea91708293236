"""How often each side of a pair runs: once, unless the command is short and its runs scatter."""

from __future__ import annotations

import math
from collections.abc import Sequence

from peephole.evaluate.workload import Workload

MOST_REPEATS = 8
SIDE_S = 1.5  # a side of a pair does not take longer than this for being repeated
TRIALS = 6  # unchanged runs from which the scatter is told
#: scatter of a pair's ratio that is aimed at: with it 25 pairs tell a change of 5 % from one of 2 %
TARGET = 0.025
#: a median of k runs scatters by this much more than their mean would, where noise is normal
MEDIAN_COST = 1.25


def may_repeat(workload: Workload, wall_s: float) -> bool:
    """Whether the command is short enough to run more than once a side. Servers are not: their drivers repeat."""
    return not workload.drive and _most(wall_s) > 1


def repeats_for(cpu_s: Sequence[float], wall_s: float) -> int:
    """Runs a side, from the CPU seconds of unchanged runs and the wall seconds of one."""
    from statistics import median

    logs = [math.log(max(value, 1e-6)) for value in cpu_s]
    middle = median(logs)
    # Scaled as the standard deviation of normal values; half of it at least is believed of the widest one, too, since
    # of six runs the median deviation alone is often far too small.
    off = [abs(value - middle) for value in logs]
    scatter = max(1.4826 * median(off), max(off) / 2)
    of_a_pair = math.sqrt(2) * scatter
    if of_a_pair <= TARGET:
        return 1
    return min(_most(wall_s), math.ceil((MEDIAN_COST * of_a_pair / TARGET) ** 2))


def _most(wall_s: float) -> int:
    return max(1, min(MOST_REPEATS, int(SIDE_S / max(wall_s, 1e-3))))

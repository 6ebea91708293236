"""From pairs of runs to an interval, and from intervals to a verdict.

Each pair gives one ratio, after/before, and the logarithms of the ratios are what is reckoned with. The figure's ratio
is their Hodges-Lehmann estimate, the median of the means of any two: nearly as precise as the mean where noise is
normal, and unmoved by a few wild pairs. Its interval is the wider of two: SciPy's percentile bootstrap of that
estimate, and the interval of Wilcoxon's signed ranks, which is exact for any noise that is as likely to favour one side
as the other - the random order within each pair sees to that. With too few pairs for such an interval, Student's takes
its place, and the caller warns.

Looking at the data several times and stopping when they please gives more false verdicts than looking once. So the
error that may be made (1 %) is spent over the looks: see CRITICAL.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CONFIDENCE = 0.99
SMALLEST_EFFECT = 0.02  # below 2 % a gain is not worth a change
MAX_PAIRS = 25
#: pairs after which the answer may be declared clear -> the largest sum of the minority's ranks at which "no change" is
#: rejected there. The looks share their data, so the error of all together is less than the sum: 0.96 % that one of
#: them rejects what is true (simulated in tests/evaluate/test_statistics.py). Little is spent early, where only large
#: effects show; ten is the fewest pairs that leave enough for the rest (2 / 2^10 = 0.2 %).
CRITICAL = {10: 0, 15: 9, 20: 30, MAX_PAIRS: 62}
LOOKS = tuple(CRITICAL)
RESAMPLES = 2_999
TINY = 1e-9  # what a ratio of zero counts as: its logarithm must exist
#: normal quantile of 9 in 10: with what probability an effect of `detectable` is found
POWER_Z = 1.2816
#: figures whose loss forbids the word "gain": a cost that only moved is no gain
GUARDS = ("cpu", "system_cpu", "wall")


@dataclass(frozen=True)
class Figure:
    """One figure before and after: medians, the ratio after/before, and its interval.

    `detectable` is the smallest change, as a share, that such a run would have called a change in 9 of 10 cases.
    """

    unit: str
    better: str  # lower | higher
    before: float
    after: float
    ratio: float | None  # None when a "before" was zero
    low: float | None
    high: float | None
    confidence: float | None
    pairs: int
    detectable: float | None = None

    def is_better(self) -> bool:
        """Whether the whole interval lies beyond the smallest effect, on the good side."""
        return self._beyond(self.better == "lower")

    def is_worse(self) -> bool:
        """Whether the whole interval lies beyond the smallest effect, on the bad side."""
        return self._beyond(self.better == "higher")

    def is_same(self) -> bool:
        """Whether the whole interval lies within the smallest effect."""
        return (
            self.low is not None
            and self.high is not None
            and self.low >= 1 - SMALLEST_EFFECT
            and self.high <= 1 / (1 - SMALLEST_EFFECT)
        )

    def _beyond(self, below: bool) -> bool:
        if self.low is None or self.high is None:
            return False
        return self.high < 1 - SMALLEST_EFFECT if below else self.low > 1 / (1 - SMALLEST_EFFECT)


def critical_rank(n: int, alpha: float) -> int | None:
    """The largest sum of the minority's signed ranks of n values whose probability, both ways, is at most alpha."""
    import numpy as np

    rejected = np.nonzero(_signed_rank(n) <= alpha)[0]
    return int(rejected[-1]) if len(rejected) else None


def _signed_rank(n: int) -> Any:
    """For each sum of the minority's ranks, how probable one so small is, both ways, when nothing has changed."""
    import numpy as np

    ways = np.zeros(n * (n + 1) // 2 + 1)
    ways[0] = 1
    for rank in range(1, n + 1):
        ways[rank:] += ways[:-rank].copy()
    return 2 * np.cumsum(ways) / 2.0**n


def critical_at(n: int, fixed: bool) -> int | None:
    """The critical rank when looking after n pairs: all the error at once, or what that look may spend.

    A series that was interrupted between looks gets what the first look may spend. None: too few pairs.
    """
    if not fixed and n in CRITICAL:
        return CRITICAL[n]
    return critical_rank(n, 1 - CONFIDENCE if fixed else nominal_alpha(LOOKS[0], False))


def nominal_alpha(n: int, fixed: bool) -> float:
    """The error of the look after n pairs alone: what the bootstrap and Student's interval take."""
    if fixed:
        return 1 - CONFIDENCE
    look = n if n in CRITICAL else LOOKS[0]
    return float(_signed_rank(look)[CRITICAL[look]])


def enough_pairs(n: int, fixed: bool) -> bool:
    """Whether n pairs carry an interval that assumes nothing about the noise but its evenness."""
    return n >= 2 and critical_at(n, fixed) is not None


def hodges_lehmann(values: Any, axis: int = -1) -> Any:
    """The median of the means of any two values, each with itself too."""
    import numpy as np

    moved = np.moveaxis(np.asarray(values, dtype=float), axis, -1)
    i, j = np.triu_indices(moved.shape[-1])
    return np.median((moved[..., i] + moved[..., j]) / 2, axis=-1)


def interval(ratios: Sequence[float], *, fixed: bool, seed: int) -> tuple[float, float, float]:
    """The estimate of the ratio and its interval, (ratio, low, high); see the module.

    `fixed` says that these pairs were all that was asked for: one look.
    """
    import numpy as np
    from scipy import stats

    n = len(ratios)
    if n < 2:
        raise ValueError("one pair has no interval")
    logs = np.sort(np.log(np.maximum(np.asarray(ratios, dtype=float), TINY)))
    middle, alpha, rank = float(hodges_lehmann(logs)), nominal_alpha(n, fixed), critical_at(n, fixed)
    if rank is not None:
        i, j = np.triu_indices(n)
        means = np.sort((logs[i] + logs[j]) / 2)
        low, high = float(means[rank]), float(means[-1 - rank])
    else:
        half = float(stats.t.ppf(1 - alpha / 2, n - 1)) * float(stats.sem(logs))
        low, high = min(middle - half, float(logs[0])), max(middle + half, float(logs[-1]))
    if logs[0] < logs[-1]:
        boot = stats.bootstrap(
            (logs,),
            hodges_lehmann,
            confidence_level=1 - alpha,
            n_resamples=RESAMPLES,
            batch=500,
            method="percentile",
            vectorized=True,
            rng=np.random.default_rng(seed),
        ).confidence_interval
        low, high = min(low, float(boot.low)), max(high, float(boot.high))
    return math.exp(middle), math.exp(low), _exp(high)


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def detectable(low: float, high: float, alpha: float) -> float:
    """The smallest change that an interval of this width would have shown in 9 of 10 runs.

    The interval must lie beyond the smallest effect: so its half width, and the spread of where it lies, come on top.
    """
    from scipy.stats import norm

    half = (math.log(max(high, TINY)) - math.log(max(low, TINY))) / 2
    beyond = half * (1 + POWER_Z / float(norm.ppf(1 - alpha / 2)))
    return 1 - (1 - SMALLEST_EFFECT) * math.exp(-beyond)


def figure(
    before: Sequence[float], after: Sequence[float], unit: str, better: str, *, fixed: bool, seed: int
) -> Figure:
    """The figure of paired values. `fixed`: these pairs are all that was asked for; `confidence` is of all looks."""
    import numpy as np

    a, b = float(np.median(before)), float(np.median(after))
    n = len(before)
    if not all(value > 0 for value in before) or n < 2:
        both_zero = not any(before) and not any(after)
        one = after[0] / before[0] if n == 1 and before[0] > 0 else None
        return Figure(unit, better, a, b, 1.0 if both_zero else one, None, None, None, n)
    ratio, low, high = interval([y / x for x, y in zip(before, after, strict=True)], fixed=fixed, seed=seed)
    least = detectable(low, high, nominal_alpha(n, fixed))
    return Figure(unit, better, a, b, ratio, low, high, CONFIDENCE, n, least)


def verdict(figures: dict[str, Figure], primary: str) -> tuple[str, str]:
    """gain, loss or no-gain, and why in words.

    A gain: the primary figure's interval lies beyond the smallest effect, and no guard's does on the bad side. A loss:
    the primary figure's interval lies beyond it on the bad side, whatever the guards do.
    """
    main = figures[primary]
    worse = [name for name in GUARDS if name in figures and name != primary and figures[name].is_worse()]
    if main.is_better():
        if worse:
            return "no-gain", f"{primary} fell but {_names(worse)} rose: the cost only moved"
        return "gain", f"{primary} is better by more than {SMALLEST_EFFECT:.0%}, and nothing else is worse"
    if main.is_worse():
        return "loss", f"{primary} is worse by more than {SMALLEST_EFFECT:.0%}"
    if main.ratio is None or main.low is None:
        return "no-gain", f"{primary} has no interval: {'one pair cannot tell' if main.pairs < 2 else 'it was zero'}"
    seen = "" if main.detectable is None else f"; a change of {main.detectable:.1%} or more would have been seen"
    if main.is_same():
        return "no-gain", f"no difference seen in {primary}: within {SMALLEST_EFFECT:.0%} either way{seen}"
    return "no-gain", f"{primary} is not clear of the smallest effect that matters ({SMALLEST_EFFECT:.0%}){seen}"


def is_clear(figures: dict[str, Figure], primary: str) -> bool:
    """Whether more pairs would not change the answer."""
    return verdict(figures, primary)[0] != "no-gain" or figures[primary].is_same()


def _names(names: list[str]) -> str:
    return " and ".join(names)

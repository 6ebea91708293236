"""From pairs of runs to an interval, and from intervals to a verdict.

Each pair gives one ratio, after/before; the figure's ratio is their median. Its interval is the wider of two: SciPy's
percentile bootstrap of the median, and the order-statistic interval, which holds for any distribution. (The bootstrap
alone is too narrow for few pairs: with five it can never be wider than the extremes, which miss the true median one
time in 16.) With too few pairs for an order-statistic interval at the level asked, Student's interval of the
logarithms takes its place, and the caller warns.

Looking at the data several times and stopping when they please gives more false verdicts than looking once. So the
error that may be made (1 %) is divided over the looks: see LOOKS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CONFIDENCE = 0.99
SMALLEST_EFFECT = 0.02  # below 2 % a gain is not worth a change
MAX_PAIRS = 25
#: numbers of pairs after which the answer may be declared clear; each look spends 1 % / 5 = 0.2 % of error. Ten is
#: the fewest pairs from which a distribution-free interval of that level exists: 2 / 2^10 < 0.002.
LOOKS = (10, 13, 17, 21, MAX_PAIRS)
RESAMPLES = 9_999
#: figures whose loss forbids the word "gain": a cost that only moved is no gain
GUARDS = ("cpu", "system_cpu", "wall")


@dataclass(frozen=True)
class Figure:
    """One figure before and after: medians, the median ratio after/before, and its interval."""

    unit: str
    better: str  # lower | higher
    before: float
    after: float
    ratio: float | None  # None when a "before" was zero
    low: float | None
    high: float | None
    confidence: float | None
    pairs: int

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


def order_statistic_rank(n: int, alpha: float) -> int | None:
    """The largest k for which [k-th smallest, k-th largest] of n values misses the median with probability <= alpha."""
    from scipy.stats import binom

    k = 0
    while k < n // 2 and 2 * float(binom.cdf(k, n, 0.5)) <= alpha:
        k += 1
    return k or None


def interval(ratios: Sequence[float], alpha: float, seed: int) -> tuple[float, float]:
    """The interval of the median of `ratios` that misses with probability of at most `alpha`; see the module."""
    import numpy as np
    from scipy import stats

    n = len(ratios)
    if n < 2:
        raise ValueError("one pair has no interval")
    values = np.sort(np.asarray(ratios, dtype=float))
    rank = order_statistic_rank(n, alpha)
    if rank is not None:
        low, high = float(values[rank - 1]), float(values[n - rank])
    else:
        low, high = _student(values, alpha)
    if values[0] < values[-1]:
        boot = stats.bootstrap(
            (values,),
            np.median,
            confidence_level=1 - alpha,
            n_resamples=RESAMPLES,
            method="percentile",
            vectorized=True,
            rng=np.random.default_rng(seed),
        ).confidence_interval
        low, high = min(low, float(boot.low)), max(high, float(boot.high))
    return low, high


def _student(values: Any, alpha: float) -> tuple[float, float]:
    import numpy as np
    from scipy import stats

    logs = np.log(np.maximum(values, 1e-9))
    half = float(stats.t.ppf(1 - alpha / 2, len(logs) - 1)) * float(stats.sem(logs))
    mean = float(np.mean(logs))
    return min(math.exp(mean - half), float(values[0])), max(math.exp(mean + half), float(values[-1]))


def figure(
    before: Sequence[float], after: Sequence[float], unit: str, better: str, *, alpha: float, seed: int
) -> Figure:
    """The figure of paired values. `alpha` is the error spent on this look; `confidence` names the whole error."""
    import numpy as np

    a, b = float(np.median(before)), float(np.median(after))
    n = len(before)
    if not all(value > 0 for value in before) or n < 2:
        both_zero = not any(before) and not any(after)
        one = after[0] / before[0] if n == 1 and before[0] > 0 else None
        return Figure(unit, better, a, b, 1.0 if both_zero else one, None, None, None, n)
    ratios = [y / x for x, y in zip(before, after, strict=True)]
    low, high = interval(ratios, alpha, seed)
    return Figure(unit, better, a, b, float(np.median(ratios)), low, high, CONFIDENCE, n)


def alpha_at(n: int, fixed: bool) -> float:
    """The error that may be spent when looking after n pairs: all of it once, or a fifth at each look."""
    return 1 - CONFIDENCE if fixed else (1 - CONFIDENCE) / len(LOOKS)


def enough_pairs(n: int, fixed: bool) -> bool:
    """Whether n pairs carry an interval that holds for any distribution."""
    return n >= 2 and 2 * 0.5**n <= alpha_at(n, fixed)


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
    if main.is_same():
        return "no-gain", f"no difference seen in {primary}: within {SMALLEST_EFFECT:.0%} either way"
    return "no-gain", f"{primary} is not clear of the smallest effect that matters ({SMALLEST_EFFECT:.0%})"


def is_clear(figures: dict[str, Figure], primary: str) -> bool:
    """Whether more pairs would not change the answer."""
    return verdict(figures, primary)[0] != "no-gain" or figures[primary].is_same()


def _names(names: list[str]) -> str:
    return " and ".join(names)

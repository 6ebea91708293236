"""Calls that several detectors name: the time of each can be saved once, and one finding counts it.

A call is counted with the finding whose rule would be applied, and of several with the one that saves most. The others
keep what is left of them, and say how many calls they share with it.
"""

from __future__ import annotations

import operator
from functools import reduce
from typing import Any

from peephole.diagnose.detectors import Detector
from peephole.diagnose.tables import Tables

#: columns of an instance that are no counts, and stay as they are when some of its calls are counted elsewhere
_NO_COUNTS = ("image", "dev", "object", "begin_ns", "end_ns", "certainty", "handled", "claims", "withheld")
#: how a row says how many of its calls a finding with that slug counts
SHARED = "shared_with_"


class Claims:
    """Which detector counts a call, of one capture. Those that come first have the first choice."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._taken: dict[str, tuple[Detector, Any]] = {}

    def rivals(self, detector: Detector) -> list[str]:
        """The slugs of those that have chosen before and may name the same calls."""
        return [slug for slug, (other, _) in self._taken.items() if share(detector, other)]

    def take(self, detector: Detector, items: Any) -> None:
        """The calls of these instances are counted with `detector`."""
        from ibis import _

        sure = items.filter(~_.withheld, _.certainty >= 1).select(seq=_.claims.unnest())
        others = [self._taken[slug][1] for slug in self.rivals(detector)]
        for taken in others:
            sure = sure.anti_join(taken, "seq")
        self._taken[detector.slug] = (detector, self._tables.keep(sure.distinct()))

    def left(self, detector: Detector, items: Any) -> Any:
        """`items`, their counts cut to the calls that nobody has taken; `shared_with_SLUG` says who has the rest."""
        import ibis
        from ibis import _

        rivals = self.rivals(detector)
        items = items.mutate(claim=_.claims[0])
        flat = items.select("claim", seq=_.claims.unnest())
        taken = [self._taken[slug][1].mutate(slug=ibis.literal(slug)) for slug in rivals]
        shared = flat.join(ibis.union(*taken) if len(taken) > 1 else taken[0], "seq").group_by("claim")
        shared = shared.aggregate(**{SHARED + slug: (_.slug == slug).cast("int64").sum() for slug in rivals})
        items = items.left_join(shared, "claim").drop("claim", "claim_right")
        items = items.mutate(**{SHARED + slug: _[SHARED + slug].fill_null(0) for slug in rivals})
        kept = 1 - reduce(operator.add, [items[SHARED + slug] for slug in rivals]) / items.claims.length()
        counts = [name for name in items.columns if name not in _NO_COUNTS and not name.startswith(SHARED)]
        return items.mutate(kept=kept).mutate(**{name: _[name] * _.kept for name in counts}).drop("kept")


def share(one: Detector, other: Detector) -> bool:
    """Whether two detectors can name the same call."""
    return bool(set(one.calls) & set(other.calls))

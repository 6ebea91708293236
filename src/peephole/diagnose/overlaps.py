"""Calls that several detectors name: the time of each can be saved once, and one finding counts it.

A call is counted with the finding whose rule would be applied, and of several with the one that saves most. The others
keep what is left of them, and say how many calls they share with it.
"""

from __future__ import annotations

import operator
from functools import cache, reduce
from typing import Any

from peephole.diagnose.detectors import Detector
from peephole.diagnose.tables import Tables

#: columns of an instance that are no counts, and stay as they are when some of its calls are counted elsewhere
_NO_COUNTS = ("image", "dev", "object", "begin_ns", "end_ns", "certainty", "handled", "claims", "withheld")
#: of so many calls those that several detectors name are looked for at once
_AT_ONCE = 20_000_000
#: how a row says how many of its calls a finding with that slug counts
SHARED = "shared_with_"


@cache
def _bit_or() -> Any:
    """The aggregate of that name, which Ibis has for DuckDB alone and Spark has, too."""
    import ibis

    def bit_or(bits: int) -> int:  # type: ignore[empty-body]
        """All bits that are set in any of them."""

    return ibis.udf.agg.builtin(bit_or)


class Claims:
    """Which detector counts a call, of one capture: of those that name it the first in `contested`.

    `items` are the instances of each, `events` how many calls there are.
    """

    def __init__(self, tables: Tables, contested: list[Detector], items: dict[str, Any], events: int) -> None:
        import ibis

        self._detectors, self._items = contested, items
        self._ranks = {detector.slug: rank for rank, detector in enumerate(contested)}
        parts = 1 + events // _AT_ONCE if len(contested) > 1 else 0
        shared = [tables.keep(self._named_twice(part, parts)) for part in range(parts)]
        self._shared: Any = ibis.union(*shared) if len(shared) > 1 else next(iter(shared), None)

    def _named_twice(self, part: int, parts: int) -> Any:
        """One row a call that several name: seq, who counts it (`winner`), and a bit for each that names it.

        Of every so many calls one: all of them would not fit into memory.
        """
        import ibis
        from ibis import _

        named = [
            self._items[slug].select(
                seq=_.claims.unnest(),
                rank=ibis.literal(rank, "int8"),
                bit=ibis.literal(1 << rank, "int64"),
                sure=~_.withheld & (_.certainty >= 1),
            )
            for slug, rank in self._ranks.items()
        ]
        calls = ibis.union(*named).filter(_.seq % parts == part).group_by("seq")
        calls = calls.aggregate(winner=_.rank.min(where=_.sure), last=_.rank.max(), named=_bit_or()(_.bit))
        return calls.filter(_.winner < _.last).drop("last")

    def losers(self) -> dict[str, list[str]]:
        """The detectors some of whose calls are counted with others, and those others."""
        from ibis import _

        if self._shared is None:
            return {}
        rows = self._shared.group_by("winner", "named").aggregate(n=_.count()).to_pyarrow().to_pylist()
        pairs = {
            (loser.slug, self._detectors[row["winner"]].slug)
            for row in rows
            for rank, loser in enumerate(self._detectors)
            if rank > row["winner"] and row["named"] >> rank & 1
        }
        return {slug: [by for by in self._ranks if (slug, by) in pairs] for slug in self._ranks if slug in dict(pairs)}

    def left(self, slug: str, winners: list[str]) -> Any:
        """Its instances, their counts cut to what no winner counts; `shared_with_SLUG` says who has the rest."""
        from ibis import _

        items = self._items[slug].mutate(claim=_.claims[0])
        flat = items.select("claim", seq=_.claims.unnest())
        lost = self._shared.filter(_.winner < self._ranks[slug]).select("seq", "winner")
        shared = flat.join(lost, "seq").group_by("claim")
        shared = shared.aggregate(**{SHARED + by: (_.winner == self._ranks[by]).cast("int64").sum() for by in winners})
        items = items.left_join(shared, "claim").drop("claim", "claim_right")
        items = items.mutate(**{SHARED + by: _[SHARED + by].fill_null(0) for by in winners})
        kept = 1 - reduce(operator.add, [items[SHARED + by] for by in winners]) / items.claims.length()
        counts = [name for name in items.columns if name not in _NO_COUNTS and not name.startswith(SHARED)]
        return items.mutate(kept=kept).mutate(**{name: _[name] * _.kept for name in counts}).drop("kept")


def share(one: Detector, other: Detector) -> bool:
    """Whether two detectors can name the same call."""
    return bool(set(one.calls) & set(other.calls))

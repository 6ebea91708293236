"""From captures to findings: runs the detectors, prices what they found, and leaves out what is not worth saying."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peephole.diagnose.detectors import Detector, detectors
from peephole.diagnose.gives_up import exists
from peephole.diagnose.layers import chains
from peephole.diagnose.objects import Objects, readable
from peephole.diagnose.overlaps import SHARED, Claims, share
from peephole.diagnose.prices import PASSED, Prices
from peephole.diagnose.sums import Sum, merged, plus
from peephole.diagnose.tables import DUCKDB, Tables, tables_of
from peephole.diagnose.times import Time, add_times
from peephole.diagnose.worth import WORTH_CALLS, WORTH_SHARE_OF_ALL, arming_of, finding_of, worth_together
from peephole.errors import CaptureError
from peephole.trace import Capture, Finding

#: more gaps than this are taken as one, from the first to the last
_GAPS_MAX = 64

#: prices of the file system of a device number or a path; `peephole.improve.armed.prices_for` is one
PricesFor = Callable[["Path | str | int"], Prices]


@dataclass(frozen=True)
class Diagnosis:
    """What captures show: findings, dearest first; `lost` events; instances `withheld` since they rest on a gap."""

    findings: list[Finding]
    lost: int
    withheld: int
    programs: dict[str, int | None] = field(default_factory=dict)  # program -> busy nanoseconds
    arming: dict[str, int] = field(default_factory=dict)  # program -> what the interposer in it costs, nanoseconds


class _Places:
    """Which prices hold for a file: those of its device, as far as that is still mounted, as its program pays them."""

    def __init__(self, prices: Prices | PricesFor, capture: Capture, times: dict[str, Time]) -> None:
        self.prices = prices
        self.times = times
        self.points = {mount["dev"]: mount["point"] for mount in capture.meta.mounts}

    def __call__(self, row: dict[str, Any]) -> Prices:
        """The prices for an instance, of which the row says program, dev and folder."""
        prices = self.at(row)
        if not prices.has((PASSED,)):
            return prices
        between_ns = self.times[row["program"]].between_ns(prices.bare()[PASSED].ns)
        return prices.paid_by(between_ns)

    def at(self, row: dict[str, Any]) -> Prices:
        """The prices there, as a program pays them that works between its calls."""
        dev, folder = row["dev"], row["folder"]
        if isinstance(self.prices, Prices):
            return self.prices
        if dev is None:
            return self.prices(Path(readable(folder)) if folder.startswith("/") else Path())
        point = self.points.get(dev)
        mounted = point is None or not os.path.isdir(point) or os.stat(point).st_dev == dev  # noqa: PTH112, PTH116
        return self.prices(dev if mounted or point is None else point)


def diagnose(captures: list[Capture], prices: Prices | PricesFor, engine: str = DUCKDB) -> Diagnosis:
    """The findings in `captures`, with savings at `prices`, or at what `prices` gives for each file's file system.

    The detectors run in `engine`: `duckdb`, or `spark:MASTER`.
    """
    sums: dict[tuple[str, str, str, bool], Sum] = {}
    times: dict[str, Time] = {}
    made: Counter[str] = Counter()
    withheld = 0
    counts = [_counts(capture) for capture in captures]
    for count in counts:
        made.update(count)
    for capture, count in zip(captures, counts, strict=True):
        wanted = [d for d in detectors().values() if any(count[name] for name in d.calls) and _enough(d, made)]
        with tables_of(capture, engine) as tables:
            add_times(tables, capture.meta, times)
            gaps = _gaps(tables)
            price_at = _Places(prices, capture, times)
            busy_ns = sum(time.busy_ns or 0 for time in times.values())
            withheld += _add(sums, tables, wanted, gaps, price_at, busy_ns, sum(count.values()))
            _add_layers(sums, chains(tables), count)
    all_ns = sum(time.busy_ns or 0 for time in times.values())
    told = [(part, found) for part in merged(sums) if (found := finding_of(part, times, all_ns)) is not None]
    arming = arming_of(told, times)
    findings = worth_together([found for _, found in told], times, arming)
    findings.sort(key=lambda f: (-(f.saving.ns if f.saving else 0), f.slug, f.program, f.object))
    busy = {program: time.busy_ns for program, time in times.items()}
    return Diagnosis(findings, sum(capture.meta.lost for capture in captures), withheld, busy, arming)


def _add_layers(
    sums: dict[tuple[str, str, str, bool], Sum], known: dict[tuple[str, str], list[str]], count: Counter[str]
) -> None:
    """Say who makes the calls, where the capture has stacks of them: of a detector's calls the most frequent one's."""
    for part in sums.values():
        called = [name for name in part.detector.calls if (part.program, name) in known]
        if called and not part.layer:
            part.layer = known[part.program, max(called, key=lambda name: count[name])]


def _counts(capture: Capture) -> Counter[str]:
    """How often each call was made."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    made: Counter[str] = Counter()
    try:
        with pq.ParquetFile(capture.calls) as file:
            for batch in file.iter_batches(1 << 20, columns=["name"]):
                made.update({str(row["values"]): row["counts"] for row in pc.value_counts(batch.column(0)).to_pylist()})
    except (pa.ArrowException, OSError) as e:
        raise CaptureError(f"{capture.calls}: cut off or corrupt; record it again") from e
    return made


def _enough(detector: Detector, made: Counter[str]) -> bool:
    return sum(made[name] for name in detector.calls) >= WORTH_CALLS


def _gaps(tables: Tables) -> list[tuple[int | None, int | None]]:
    """The times between which events are missing."""
    rows = tables.recorded_gaps.select("after_ns", "before_ns").to_pyarrow().to_pylist()
    gaps = [(row["after_ns"], row["before_ns"]) for row in rows]
    if len(gaps) <= _GAPS_MAX:
        return gaps
    after, before = [a for a, _ in gaps], [b for _, b in gaps]
    return [(None if None in after else min(after), None if None in before else max(before))]


def _add(
    sums: dict[tuple[str, str, str, bool], Sum],
    tables: Tables,
    wanted: list[Detector],
    gaps: list[tuple[int | None, int | None]],
    price_at: _Places,
    busy_ns: int,
    events: int,
) -> int:
    """Add what the detectors find in one capture, each call counted once; how many instances were withheld."""
    items = {d.slug: tables.keep(_items(tables, d, gaps)) for d in wanted}
    rows = {d.slug: _rows(tables, items[d.slug], _counts_of(d)) for d in wanted}
    contested = _contested(wanted, {d.slug: _saved(d, rows[d.slug], price_at) for d in wanted}, busy_ns)
    claims = Claims(tables, contested, items, events)
    for slug, winners in claims.losers().items():
        rows[slug] = _rows(tables, claims.left(slug, winners), _counts_of(detectors()[slug]), winners)
    _add_priced(price_at, wanted, rows)
    withheld = 0
    for detector in wanted:
        for row in rows[detector.slug]:
            if row["withheld"]:
                withheld += row["instances"]
            elif row["calls_mid"]:
                _sum(sums, detector, row, price_at(row))
    for detector in contested:
        for row in rows[detector.slug]:
            _share(sums, detector, row)
    return withheld


def _add_priced(price_at: _Places, wanted: list[Detector], rows: dict[str, list[dict[str, Any]]]) -> None:
    """Say of each program what the calls cost that prices are known of: the rest of its time is between them."""
    for detector in wanted:
        for row in rows[detector.slug]:
            prices = price_at.at(row).bare()
            if prices.has(detector.before):
                time = price_at.times[row["program"]]
                time.priced += round(row["calls_mid"] or 0)
                time.priced_ns += plus((0.0, 0.0, 0.0), detector.before, row, prices)[1]


def _contested(wanted: list[Detector], saved: dict[str, float], busy_ns: int) -> list[Detector]:
    """The detectors that may name calls of others, those that choose first before the others.

    One that saves next to nothing contests nothing, nor does one that saves waiting: its time is not added to others'.
    """
    told = [d for d in wanted if not d.waiting and saved[d.slug] > WORTH_SHARE_OF_ALL * busy_ns]
    told.sort(key=lambda d: (not (d.rule and exists(d.rule)), -saved[d.slug], d.slug))
    return [d for d in told if any(share(d, other) for other in told if other is not d)]


def _counts_of(detector: Detector) -> list[str]:
    return sorted({*detector.before.values(), *detector.after.values()} | {"calls", "bytes", "blocked_ns"})


def _items(tables: Tables, detector: Detector, gaps: list[tuple[int | None, int | None]]) -> Any:
    return detector.find(tables).mutate(withheld=_rests_on(gaps))


def _rows(tables: Tables, items: Any, counts: list[str], rivals: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The instances summed up by program and folder."""
    import ibis
    from ibis import _

    shared = [SHARED + slug for slug in rivals]
    items = items.group_by("image", "object", "dev", "handled", "withheld", "certainty").aggregate(
        instances=_.count(), **{name: _[name].sum() for name in (*counts, *shared)}
    )
    folder = ibis.ifelse(_.object.contains("/"), _.object.re_replace("/[^/]*$", "/"), ibis.literal(""))
    items = items.join(tables.images.select("image", "pid", "program"), "image").mutate(folder=folder)
    # three levels of certainty: certain, likely, possible
    sums_of = {
        f"{column}_{at}": _[column].sum(where=_.certainty >= level)
        for column in counts
        for at, level in (("low", 2), ("mid", 1), ("high", 0))
    }
    rows = items.group_by("program", "folder", "dev", "handled", "withheld").aggregate(
        files=_.object.nunique(),
        first=_.object.min(),
        pids=_.pid.collect(distinct=True),
        instances=_.instances.sum(),
        **sums_of,
        **{name: _[name].sum(where=_.certainty >= 1) for name in shared},
    )
    found: list[dict[str, Any]] = rows.to_pyarrow().to_pylist()
    return found


def _saved(detector: Detector, rows: list[dict[str, Any]], price_at: _Places) -> float:
    """Nanoseconds that a detector's instances save in all."""
    total = 0.0
    for row in rows:
        prices = price_at(row)
        if not row["withheld"] and prices.has((*detector.before, *detector.after)):
            zero = (0.0, 0.0, 0.0)
            total += plus(zero, detector.before, row, prices)[1] - plus(zero, detector.after, row, prices)[1]
    return total


def _share(sums: dict[tuple[str, str, str, bool], Sum], detector: Detector, row: dict[str, Any]) -> None:
    """Say of both sides how many calls they share."""
    for name, calls in row.items():
        if name.startswith(SHARED) and calls:
            slug = name.removeprefix(SHARED)
            for one, other in ((detector.slug, slug), (slug, detector.slug)):
                for part in _of(sums, one, row)[:1]:
                    part.overlaps[other] += int(calls)


def _of(sums: dict[tuple[str, str, str, bool], Sum], slug: str, row: dict[str, Any]) -> list[Sum]:
    """What is known of a detector in a row's program; of the same tree first, then what its rule takes alike."""
    top = Objects.top(row["folder"])
    parts = [key for key in sums if key[:2] == (slug, row["program"])]
    parts.sort(key=lambda key: (key[2] != top, key[3] != row["handled"], *key[2:]))
    return [sums[key] for key in parts]


def _rests_on(gaps: list[tuple[int | None, int | None]]) -> Any:
    """Whether an item's time overlaps one of the gaps; unknown times overlap any."""
    import ibis
    from ibis import _

    if not gaps:
        return ibis.literal(False)
    overlaps = [_.begin_ns.isnull() | _.end_ns.isnull()]
    for after, before in gaps:
        ended_later = ibis.literal(True) if after is None else _.end_ns > after
        began_before = ibis.literal(True) if before is None else _.begin_ns < before
        overlaps.append(ended_later & began_before)
    return ibis.or_(*overlaps).fill_null(True)


def _sum(sums: dict[tuple[str, str, str, bool], Sum], detector: Detector, row: dict[str, Any], prices: Prices) -> None:
    top = Objects.top(row["folder"])
    part = sums.setdefault(
        (detector.slug, row["program"], top, row["handled"]), Sum(detector, row["program"], row["handled"])
    )
    part.objects.add(row["folder"], row["first"], row["files"])
    part.pids.update(pid for pid in row["pids"] or [] if pid is not None)
    part.calls += round(row["calls_mid"])
    part.bytes += round(row["bytes_mid"] or 0)
    part.blocked_ns += round(row["blocked_ns_mid"] or 0)
    for rule in (detector.rule, *detector.needs) if detector.rule else ():
        part.beside |= prices.beside(rule)
    if not prices.has((*detector.before, *detector.after)):
        return  # counted, and no saving claimed
    part.before = plus(part.before, detector.before, row, prices)
    part.after = plus(part.after, detector.after, row, prices)

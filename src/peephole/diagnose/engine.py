"""From captures to findings: runs the detectors, prices what they found, and leaves out what is not worth saying."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from peephole.diagnose.detectors import Detector, detectors
from peephole.diagnose.gives_up import gives_up
from peephole.diagnose.objects import Objects, readable
from peephole.diagnose.prices import Prices
from peephole.diagnose.tables import Tables, tables_of
from peephole.trace import Capture, Finding, Saving

#: a finding that saves less than this share of its program's time is not worth saying
WORTH_SHARE = 0.01
#: nor is one of fewer calls than this: it is not a habit, and attaching costs more
WORTH_CALLS = 50
#: more trees than this that one program treats alike are told as one
TREES_MAX = 4
#: what recording adds to each call of the target, by engine (bench record_cost, on the machine it was written on)
RECORDING_NS = {"ebpf": 140, "ebpf-full": 250}
#: more gaps than this are taken as one, from the first to the last
_GAPS_MAX = 64

#: prices of the file system of a device number or a path; `peephole.diagnose.calibrate.prices_for` is one
PricesFor = Callable[["Path | str | int"], Prices]


@dataclass(frozen=True)
class Diagnosis:
    """What captures show: findings, dearest first; `lost` events; instances `withheld` since they rest on a gap."""

    findings: list[Finding]
    lost: int
    withheld: int
    programs: dict[str, int | None] = field(default_factory=dict)  # program -> busy nanoseconds


@dataclass
class _Sum:
    """What is known of one (detector, program, object, can a rule take it)."""

    detector: Detector
    program: str
    handled: bool
    objects: Objects = field(default_factory=Objects)
    pids: set[int] = field(default_factory=set)
    calls: int = 0
    bytes: int = 0
    before: tuple[float, float, float] = (0, 0, 0)  # low, middle, high
    after: tuple[float, float, float] = (0, 0, 0)

    def take(self, other: _Sum) -> None:
        """Count `other` with this."""
        self.objects.take(other.objects)
        self.pids |= other.pids
        self.calls += other.calls
        self.bytes += other.bytes
        self.before = _both(self.before, other.before)
        self.after = _both(self.after, other.after)


def _both(a: tuple[float, float, float], b: tuple[float, float, float]) -> tuple[float, float, float]:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


class _Places:
    """Which prices hold for a file: those of its device, as far as that is still mounted."""

    def __init__(self, prices: Prices | PricesFor, capture: Capture) -> None:
        self.prices = prices
        self.points = {mount["dev"]: mount["point"] for mount in capture.meta.mounts}

    def __call__(self, dev: int | None, folder: str) -> Prices:
        if isinstance(self.prices, Prices):
            return self.prices
        if dev is None:
            return self.prices(Path(readable(folder)) if folder.startswith("/") else Path())
        point = self.points.get(dev)
        mounted = point is None or not os.path.isdir(point) or os.stat(point).st_dev == dev  # noqa: PTH112, PTH116
        return self.prices(dev if mounted or point is None else point)


def diagnose(captures: list[Capture], prices: Prices | PricesFor) -> Diagnosis:
    """The findings in `captures`, with savings at `prices`, or at what `prices` gives for each file's file system."""
    sums: dict[tuple[str, str, str, bool], _Sum] = {}
    busy: dict[str, int | None] = {}
    withheld = 0
    for capture in captures:
        price_at = _Places(prices, capture)
        with tables_of(capture) as tables:
            _add_programs(tables, capture.meta.engine, busy)
            gaps = _gaps(tables)
            for detector in detectors().values():
                withheld += _add(sums, tables, detector, gaps, price_at)
    findings = [finding for part in _merged(sums) if (finding := _finding(part, busy)) is not None]
    findings.sort(key=lambda f: (-(f.saving.ns if f.saving else 0), f.slug, f.program, f.object))
    return Diagnosis(findings, sum(capture.meta.lost for capture in captures), withheld, busy)


def _gaps(tables: Tables) -> list[tuple[int | None, int | None]]:
    """The times between which events are missing."""
    rows = tables.recorded_gaps.select("after_ns", "before_ns").to_pyarrow().to_pylist()
    gaps = [(row["after_ns"], row["before_ns"]) for row in rows]
    if len(gaps) <= _GAPS_MAX:
        return gaps
    after, before = [a for a, _ in gaps], [b for _, b in gaps]
    return [(None if None in after else min(after), None if None in before else max(before))]


def _add_programs(tables: Tables, engine: str, busy: dict[str, int | None]) -> None:
    from ibis import _

    programs = tables.images.group_by("program").aggregate(busy_ns=_.busy_ns.sum(), calls=_.calls.sum())
    for row in programs.to_pyarrow().to_pylist():
        ns = row["busy_ns"]
        if ns is not None:
            # A stop by strace takes 10 to 100 us, as the load will have it: little of that is the program's.
            least = ns // 20
            ns = max(ns - RECORDING_NS[engine] * row["calls"], least) if engine in RECORDING_NS else least
            known = busy.get(row["program"])
            ns += known if known is not None else 0
        busy[row["program"]] = None if ns is None else int(ns)


def _add(
    sums: dict[tuple[str, str, str, bool], _Sum],
    tables: Tables,
    detector: Detector,
    gaps: Iterable[tuple[int | None, int | None]],
    price_at: _Places,
) -> int:
    """Add what one detector finds; how many instances were withheld."""
    import ibis
    from ibis import _

    items = detector.find(tables).mutate(withheld=_rests_on(list(gaps)))
    counts = sorted({*detector.before.values(), *detector.after.values()})
    folder = ibis.ifelse(_.object.contains("/"), _.object.re_replace("/[^/]*$", "/"), ibis.literal(""))
    items = items.join(tables.images.select("image", "pid", "program"), "image").mutate(folder=folder)
    # three levels of certainty: certain, likely, possible
    sums_of = {
        f"{column}_{at}": _[column].sum(where=_.certainty >= level)
        for column in counts
        for at, level in (("low", 2), ("mid", 1), ("high", 0))
    }
    rows = items.group_by("program", "folder", "dev", "handled", "withheld").aggregate(
        found=_.calls.sum(where=_.certainty >= 1),
        size=_.bytes.sum(where=_.certainty >= 1),
        files=_.object.nunique(),
        first=_.object.min(),
        pids=_.pid.collect(distinct=True),
        instances=_.count(),
        **sums_of,
    )
    withheld = 0
    for row in rows.to_pyarrow().to_pylist():
        if row["withheld"]:
            withheld += row["instances"]
        elif row["found"]:
            _sum(sums, detector, row, price_at(row["dev"], row["folder"]))
    return withheld


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


def _sum(sums: dict[tuple[str, str, str, bool], _Sum], detector: Detector, row: dict[str, Any], prices: Prices) -> None:
    top = Objects.top(row["folder"])
    part = sums.setdefault(
        (detector.slug, row["program"], top, row["handled"]), _Sum(detector, row["program"], row["handled"])
    )
    part.objects.add(row["folder"], row["first"], row["files"])
    part.pids.update(pid for pid in row["pids"] or [] if pid is not None)
    part.calls += row["found"]
    part.bytes += row["size"]
    part.before = _plus(part.before, detector.before, row, prices)
    part.after = _plus(part.after, detector.after, row, prices)


def _merged(sums: dict[tuple[str, str, str, bool], _Sum]) -> list[_Sum]:
    """Trees that lie in one another are one object, and so are many trees side by side."""
    families: dict[tuple[str, str, bool], dict[str, _Sum]] = {}
    for (slug, program, top, handled), part in sums.items():
        families.setdefault((slug, program, handled), {})[top] = part
    merged: list[_Sum] = []
    for trees in families.values():
        nested = _grouped(trees, partial(_outermost, tuple(trees)))
        if len(nested) > TREES_MAX:
            nested = _grouped(nested, lambda top: "/".join(top.split("/")[: 2 if top.startswith("/") else 1]))
        if len(nested) > TREES_MAX:
            nested = _grouped(nested, lambda top: "")
        merged += nested.values()
    return merged


def _grouped(trees: dict[str, _Sum], name: Callable[[str], str]) -> dict[str, _Sum]:
    groups: dict[str, _Sum] = {}
    for top, part in sorted(trees.items()):
        into = groups.get(name(top))
        if into is None:
            groups[name(top)] = part
        else:
            into.take(part)
    return groups


def _outermost(trees: tuple[str, ...], top: str) -> str:
    return min(tree for tree in trees if _within(top, tree))


def _within(top: str, other: str) -> bool:
    return top == other or (other == "/" and top.startswith("/")) or top.startswith(other + "/")


def _plus(
    total: tuple[float, float, float], paid: dict[str, str], row: dict[str, Any], prices: Prices
) -> tuple[float, float, float]:
    low, mid, high = total
    for name, column in paid.items():
        price = prices[name]
        low += price.low * (row[f"{column}_low"] or 0)
        mid += price.ns * (row[f"{column}_mid"] or 0)
        high += price.high * (row[f"{column}_high"] or 0)
    return low, mid, high


def _finding(part: _Sum, busy: dict[str, int | None]) -> Finding | None:
    """The finding, or None where it is not worth saying."""
    detector = part.detector
    before, after = part.before, part.after
    saved = before[1] - after[1]
    spread = (before[1] - before[0]) + (after[2] - after[1])
    time_ns = busy.get(part.program)
    if part.calls < WORTH_CALLS or saved <= 0 or (time_ns is not None and saved < WORTH_SHARE * time_ns):
        return None
    rule = detector.rule if part.handled else None
    advice = detector.advice
    if detector.rule is not None and rule is None:
        advice += f"; {detector.rule} leaves it alone, since another process shares the open file"
    return Finding(
        slug=detector.slug,
        kind=detector.kind,
        program=part.program,
        pids=sorted(part.pids),
        object=part.objects.name(),
        layer=list(detector.layer),
        calls=part.calls,
        bytes=part.bytes,
        kernel_ns=round(before[1]),
        kernel_ns_estimated=True,
        blocked_ns=0,
        saving=Saving(round(saved), round(max(0.0, saved - spread)), round(max(saved, before[2] - after[0]))),
        rule=rule,
        gives_up=gives_up(rule) if rule else [],
        advice=advice,
    )

"""What is known of each detector's waste, by program and tree of files, until findings are made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from peephole.diagnose.detectors import Detector
from peephole.diagnose.objects import Objects
from peephole.diagnose.prices import Beside, Prices

#: more trees than this that one program treats alike are told as one
TREES_MAX = 4


@dataclass
class Sum:
    """What is known of one (detector, program, object, can a rule take it)."""

    detector: Detector
    program: str
    handled: bool
    objects: Objects = field(default_factory=Objects)
    pids: set[int] = field(default_factory=set)
    calls: int = 0
    bytes: int = 0
    blocked_ns: int = 0
    layer: list[str] = field(default_factory=list)  # from stacks; empty where there are none
    before: tuple[float, float, float] = (0, 0, 0)  # low, middle, high
    after: tuple[float, float, float] = (0, 0, 0)
    beside: Beside = field(default_factory=Beside)
    overlaps: Counter[str] = field(default_factory=Counter)  # detectors that name some of its calls, too -> how many

    def take(self, other: Sum) -> None:
        """Count `other` with this."""
        self.objects.take(other.objects)
        self.pids |= other.pids
        self.calls += other.calls
        self.bytes += other.bytes
        self.blocked_ns += other.blocked_ns
        self.layer = self.layer or other.layer
        self.before = _both(self.before, other.before)
        self.after = _both(self.after, other.after)
        self.beside |= other.beside
        self.overlaps.update(other.overlaps)


def _both(a: tuple[float, float, float], b: tuple[float, float, float]) -> tuple[float, float, float]:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def merged(sums: dict[tuple[str, str, str, bool], Sum]) -> list[Sum]:
    """Trees that lie in one another are one object, and so are many trees side by side."""
    families: dict[tuple[str, str, bool], dict[str, Sum]] = {}
    for (slug, program, top, handled), part in sums.items():
        families.setdefault((slug, program, handled), {})[top] = part
    merged: list[Sum] = []
    for trees in families.values():
        nested = _grouped(trees, partial(_outermost, tuple(trees)))
        if len(nested) > TREES_MAX:
            nested = _grouped(nested, lambda top: "/".join(top.split("/")[: 2 if top.startswith("/") else 1]))
        if len(nested) > TREES_MAX:
            nested = _grouped(nested, lambda top: "")
        merged += nested.values()
    return merged


def _grouped(trees: dict[str, Sum], name: Callable[[str], str]) -> dict[str, Sum]:
    groups: dict[str, Sum] = {}
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


def plus(
    total: tuple[float, float, float], paid: dict[str, str], row: dict[str, Any], prices: Prices
) -> tuple[float, float, float]:
    low, mid, high = total
    for name, column in paid.items():
        price = prices[name]
        low += price.low * (row[f"{column}_low"] or 0)
        mid += price.ns * (row[f"{column}_mid"] or 0)
        high += price.high * (row[f"{column}_high"] or 0)
    return low, mid, high

"""What a program's time is: on the CPU, as far as a capture tells, and what the interposer would add to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peephole.diagnose.prices import Beside
from peephole.diagnose.tables import Tables
from peephole.trace import Meta

#: what recording adds to each call of the target, by engine (bench record_cost, on the machine it was written on)
RECORDING_NS = {"ebpf": 140, "ebpf-full": 250}


@dataclass
class Time:
    """A program's time: on the CPU (None where the capture has no times), and from its first call to its last."""

    busy_ns: int | None = None
    alive_ns: int = 0
    images: int = 0
    calls: int = 0
    opens: int = 0  # files that it opened
    recording_known: bool = False  # and taken off busy_ns
    found: int = 0  # calls of its findings: what the interposer takes for them is in their prices
    priced: int = 0  # calls of its instances, and what they cost in a bare loop
    priced_ns: float = 0

    def between_ns(self, other_ns: float) -> float | None:
        """How long it works between two calls, if calls without a price took `other_ns`; None: not known."""
        if self.busy_ns is None or not self.recording_known or not self.calls:
            return None
        inside = self.priced_ns + other_ns * max(0, self.calls - self.priced)
        return max(0.0, self.busy_ns - inside) / self.calls

    def arming_ns(self, of: Beside) -> int:
        """What the interposer itself costs the program: at each start, each open, and each call that no rule takes."""
        passed = max(0, self.calls - self.found - self.opens)
        return round(of.start_ns * self.images + of.opened_ns * self.opens + of.passed_ns * passed)


def add_times(tables: Tables, meta: Meta, times: dict[str, Time]) -> None:
    """Add the time of the programs in one capture to `times`."""
    from ibis import _

    opens = tables.opens.group_by("image").aggregate(opens=_.count())
    images = tables.images.left_join(opens, "image").mutate(alive_ns=_.end_ns - _.begin_ns)
    programs = images.group_by("program").aggregate(
        busy_ns=_.busy_ns.sum(),
        alive_ns=_.alive_ns.sum(),
        calls=_.calls.sum(),
        opens=_.opens.sum().fill_null(0),
        images=_.count(),
    )
    rows = programs.to_pyarrow().to_pylist()
    share = _share_of_cpu(rows, meta)
    for row in rows:
        time = times.setdefault(row["program"], Time())
        time.alive_ns += row["alive_ns"] or 0
        time.images += row["images"]
        time.calls += row["calls"]
        time.opens += row["opens"]
        if row["busy_ns"] is not None:
            time.busy_ns = int(_busy_ns(row, meta) * share) + (time.busy_ns or 0)
            time.recording_known = meta.engine in RECORDING_NS


def _busy_ns(row: dict[str, Any], meta: Meta) -> float:
    """What a program was busy without being recorded."""
    # A stop by strace takes 10 to 100 us, as the load will have it: little of that is the program's.
    least = float(row["busy_ns"]) / 20
    recording = RECORDING_NS.get(meta.engine)
    if recording is None:
        return least
    return max(float(row["busy_ns"] - recording * row["calls"]), least)


def _share_of_cpu(rows: list[dict[str, Any]], meta: Meta) -> float:
    """How much of the time between calls was CPU time: on a busy machine a program is also kept from the CPU there."""
    between = sum(_busy_ns(row, meta) for row in rows if row["busy_ns"] is not None)
    if meta.cpu_ns is None or meta.engine not in RECORDING_NS or not between:
        return 1.0
    used: float = meta.cpu_ns - RECORDING_NS[meta.engine] * sum(int(row["calls"]) for row in rows)
    return min(1.0, max(used, meta.cpu_ns / 20) / between)

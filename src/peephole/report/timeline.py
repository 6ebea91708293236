"""When a program made its calls: a lane for each process, from a capture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from peephole.report.charts import WIDTH, svg
from peephole.report.markup import text
from peephole.report.words import amount
from peephole.trace import Capture

STEPS = 100  # columns of a lane
MOST_LANES = 8  # processes shown by name; the rest are one lane
LANE, LABEL = 34, 15  # user units: a lane's height, and its label's above it


@dataclass(frozen=True)
class Lane:
    """One process: its calls in each step of the time, and from when to when it ran (shares of the whole)."""

    label: str
    begin: float
    end: float
    counts: list[int]

    @property
    def calls(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True)
class Timeline:
    """The lanes of one capture, and how long it took in seconds."""

    lanes: list[Lane]
    seconds: float


def timeline(capture: Capture) -> Timeline | None:
    """The timeline of a capture; None when it holds no call."""
    import numpy as np
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    calls = pq.read_table(capture.calls, columns=["exit_ns", "enter_ns", "pid", "name"])
    # Of exit_group and of what a signal ended only the beginning is known; of the rest not always that.
    when = pc.coalesce(calls.column("exit_ns"), calls.column("enter_ns"))
    calls, when = calls.filter(pc.is_valid(when)), when.drop_null()
    if calls.num_rows == 0:
        return None
    times = np.asarray(when.to_numpy(zero_copy_only=False))
    pids = np.asarray(calls.column("pid").to_numpy(zero_copy_only=False))
    names = calls.column("name").combine_chunks()
    names = names.dictionary_decode() if hasattr(names, "dictionary_decode") else names
    begin, end = int(times.min()), max(int(times.max()), int(times.min()) + 1)
    spans = _spans(capture, begin, end)
    order = sorted(((int(n), int(p)) for p, n in zip(*np.unique(pids, return_counts=True), strict=True)), reverse=True)
    lanes = []
    shown = {pid for _, pid in order[:MOST_LANES]}
    for pid in sorted(shown, key=lambda p: (spans.get(p, (0.0, 1.0, ""))[0], p)):
        mine = pids == pid
        first, last, exe = spans.get(pid, (0.0, 1.0, "?"))
        top = _most_frequent(names, mine)
        label = f"{exe} ({pid}): {int(mine.sum()):,} calls, most {top}"
        lanes.append(Lane(label, first, last, _histogram(times[mine], begin, end)))
    rest = ~np.isin(pids, list(shown))
    if rest.any():
        label = f"{len(order) - len(shown)} other processes: {int(rest.sum()):,} calls"
        lanes.append(Lane(label, 0.0, 1.0, _histogram(times[rest], begin, end)))
    return Timeline(lanes, (end - begin) / 1e9)


def _histogram(times: Any, begin: int, end: int) -> list[int]:
    import numpy as np

    counts, _ = np.histogram(times, bins=STEPS, range=(begin, end))
    return [int(n) for n in counts]


def _most_frequent(names: Any, mine: Any) -> str:
    import pyarrow as pa
    import pyarrow.compute as pc

    counted = pc.value_counts(names.filter(pa.array(mine))).to_pylist()
    return str(max(counted, key=lambda row: row["counts"])["values"] or "unknown")


def _spans(capture: Capture, begin: int, end: int) -> dict[int, tuple[float, float, str]]:
    """pid -> when it began and ended, as shares of the whole, and its last program's name."""
    import pyarrow.parquet as pq

    found: dict[int, tuple[float, float, str]] = {}
    whole = end - begin
    rows = pq.read_table(capture.processes, columns=["pid", "start_ns", "end_ns", "exe"]).sort_by("start_ns")
    for row in rows.to_pylist():
        first = min(1.0, max(0.0, ((row["start_ns"] or begin) - begin) / whole))
        last = 1.0 if row["end_ns"] is None else min(1.0, max(0.0, (row["end_ns"] - begin) / whole))
        exe = PurePath((row["exe"] or b"?").decode("utf-8", "backslashreplace")).name
        before = found.get(row["pid"], (first, last, ""))
        found[row["pid"]] = (min(before[0], first), max(before[1], last), exe or before[2])
    return found


def timeline_chart(found: Timeline, seconds: float, what: str) -> str:
    """Lanes of bars: how many calls each process made when. `seconds` is the length of the axis."""
    share = min(1.0, found.seconds / seconds) if seconds > 0 else 1.0
    most = max((max(lane.counts) for lane in found.lanes), default=1) or 1
    body = ""
    for i, lane in enumerate(found.lanes):
        body += _lane(lane, 4 + i * (LANE + LABEL), share, most)
    height = 4 + len(found.lanes) * (LANE + LABEL)
    for tick in (0.0, 0.5, 1.0):
        anchor = ("start", "middle", "end")[round(tick * 2)]
        body += f'<text class="soft" x="{tick * WIDTH:.0f}" y="{height + 14}" text-anchor="{anchor}">'
        body += f"{amount(tick * seconds, 's') if tick else '0'}</text>\n"
    said = f"{what}, {found.seconds:.3g} s; " + "; ".join(lane.label for lane in found.lanes)
    return svg(height + 20, f"When the calls were made, {what}", said, body)


def _lane(lane: Lane, y: float, share: float, most: int) -> str:
    base = y + LABEL + LANE - 6
    label = lane.label if len(lane.label) <= 62 else lane.label[:61] + "…"
    body = f'<text x="0" y="{y + 10}">{text(label)}</text>\n'
    begin, end = lane.begin * share * WIDTH, max(lane.end, lane.begin) * share * WIDTH
    body += f'<line class="life" x1="{begin:.1f}" x2="{end:.1f}" y1="{base + 1.5}" y2="{base + 1.5}"/>\n'
    step = WIDTH * share / STEPS
    path = "".join(
        # The square root lets few calls be seen beside many.
        f"M{n * step:.2f} {base}h{max(step * 0.9, 0.5):.2f}v-{max((count / most) ** 0.5 * (LANE - 10), 0.8):.2f}"
        f"h-{max(step * 0.9, 0.5):.2f}z"
        for n, count in enumerate(lane.counts)
        if count
    )
    return body + f'<path class="after" d="{path}"><title>{text(lane.label)}</title></path>\n'

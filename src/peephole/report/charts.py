"""Charts as inline SVG. Every bar and point also stands in words: colour and shape carry nothing alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from peephole.report.markup import text

WIDTH = 400  # user units: about the width of a phone, so that letters stay readable there
MOST_NAMES = 9  # system calls shown by name; the rest are summed


@dataclass(frozen=True)
class Point:
    """One pair's ratio; `first` is the side that ran first (A before, B after)."""

    pair: int
    ratio: float
    first: str


def svg(height: float, title: str, description: str, body: str) -> str:
    """An image with a name and a description that can be read aloud."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{text(title)}</title><desc>{text(description)}</desc>\n{body}</svg>\n"
    )


def top_calls(before: dict[str, int], after: dict[str, int] | None) -> list[tuple[str, int, int]]:
    """(name, before, after) of the most frequent calls, then one row for all others."""
    names = sorted(
        before.keys() | (after or {}).keys(), key=lambda n: (-max(before.get(n, 0), (after or {}).get(n, 0)), n)
    )
    rows = [(name, before.get(name, 0), (after or {}).get(name, 0)) for name in names]
    if len(rows) <= MOST_NAMES:
        return rows
    rest = rows[MOST_NAMES - 1 :]
    others = (f"{len(rest)} others", sum(r[1] for r in rest), sum(r[2] for r in rest))
    return [*rows[: MOST_NAMES - 1], others]


def calls_chart(before: dict[str, int], after: dict[str, int] | None) -> str:
    """Bars of system calls by name: before, and (unless None) after."""
    rows = top_calls(before, after)
    most = max((max(b, a) for _, b, a in rows), default=0) or 1
    left, right, bar = 112, 66, 14
    step = bar * (2 if after is not None else 1) + 12
    body = ""
    for i, (name, was, now) in enumerate(rows):
        y = 8 + i * step
        middle = y + (bar if after is not None else bar / 2) + 4
        body += f'<text x="{left - 8}" y="{middle:.0f}" text-anchor="end">{text(_short(name))}</text>\n'
        body += _bar(left, y, was, most, right, bar, "before")
        if after is not None:
            body += _bar(left, y + bar, now, most, right, bar, "after")
    said = "; ".join(f"{n} {b:,}" + (f" to {a:,}" if after is not None else "") for n, b, a in rows)
    title = "System calls by name" + (", before and after" if after is not None else "")
    return svg(8 + len(rows) * step, title, said, body)


def _short(name: str) -> str:
    return name if len(name) <= 17 else name[:16] + "…"


def _bar(x: float, y: float, value: int, most: int, right: float, height: float, kind: str) -> str:
    width = (WIDTH - x - right) * value / most
    tone = "soft" if kind == "before" else "number"
    return (
        f'<rect class="{kind}" x="{x}" y="{y + 1:.0f}" width="{width:.1f}" height="{height - 2:.0f}"/>'
        f'<text class="{tone}" x="{x + width + 5:.1f}" y="{y + height - 2:.0f}">{value:,}</text>\n'
    )


def forest_chart(rows: list[tuple[str, float, float | None, float | None, str]]) -> str:
    """Ratios after/before of all figures, each with its interval: (name, ratio, low, high, what it says).

    The axis is logarithmic, so that half and double lie as far from 1; what is beyond it is drawn at its edge.
    """
    values = [v for _, ratio, low, high, _ in rows for v in (ratio, low, high) if v is not None and v > 0]
    bottom, top = min([0.5, *values]), max([1.3, *values])
    bottom, top = max(bottom, 0.01), min(top, 8.0)
    left, right, step, up = 16, 16, 40, 6
    height = up + step * len(rows) + 20

    def x(value: float) -> float:
        place = math.log(min(max(value, bottom), top) / bottom) / math.log(top / bottom)
        return left + (WIDTH - left - right) * place

    floor = up + step * len(rows)
    body = ""
    for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 4, 8):
        if bottom <= tick <= top:
            line = "one" if tick == 1 else "axis"
            body += f'<line class="{line}" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{up}" y2="{floor}"/>'
            body += f'<text class="soft" x="{x(tick):.1f}" y="{floor + 15}" text-anchor="middle">{tick:g}</text>\n'
    for i, (name, ratio, low, high, said) in enumerate(rows):
        y = up + i * step
        body += f'<text x="0" y="{y + 12}">{text(name)} <tspan class="soft">{text(said)}</tspan></text>\n'
        if low is not None and high is not None:
            body += f'<line class="reach" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y + 24}" y2="{y + 24}"/>\n'
        body += f'<circle class="mark" cx="{x(ratio):.1f}" cy="{y + 24}" r="4.5"/>\n'
    spoken = "; ".join(f"{name} {ratio:.3f}, {said}" for name, ratio, _, _, said in rows)
    return svg(height, "Ratios after/before of all figures with their intervals", spoken, body)


def ratio_chart(points: list[Point], median: float, low: float | None, high: float | None, figure: str) -> str:
    """One mark a pair, its ratio after/before; the median, its interval as a band, and the line of no difference."""
    values = [p.ratio for p in points] + [1.0, median] + [v for v in (low, high) if v is not None]
    bottom, top = _range(values)
    height, left, right, up, down = 240, 48, 12, 14, 40

    def y(value: float) -> float:
        return up + (height - up - down) * (top - value) / (top - bottom)

    def x(index: int) -> float:
        return left + (WIDTH - left - right) * (index + 0.5) / len(points)

    body = ""
    for tick in _ticks(bottom, top):
        body += f'<line class="axis" x1="{left}" x2="{WIDTH - right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        body += f'<text class="soft" x="{left - 7}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.4g}</text>\n'
    if low is not None and high is not None:
        tall = max(y(low) - y(high), 1.5)
        body += (
            f'<rect class="band" x="{left}" y="{y(high):.1f}" width="{WIDTH - left - right}" height="{tall:.1f}"/>\n'
        )
    body += f'<line class="one" x1="{left}" x2="{WIDTH - right}" y1="{y(1):.1f}" y2="{y(1):.1f}"/>\n'
    body += f'<line class="median" x1="{left}" x2="{WIDTH - right}" y1="{y(median):.1f}" y2="{y(median):.1f}"/>\n'
    for i, point in enumerate(points):
        body += _mark(x(i), y(point.ratio), point)
    body += f'<text class="soft" x="{(WIDTH + left - right) / 2:.0f}" y="{height - 10}" text-anchor="middle">'
    body += "pairs, in the order they ran</text>\n"
    interval = "" if low is None or high is None else f", interval {low:.3f} to {high:.3f}"
    said = f"{len(points)} pairs; median {median:.3f}{interval}. " + "; ".join(
        f"{p.pair}: {p.ratio:.3f}" for p in points
    )
    return svg(height, f"Ratio after/before of {figure}, pair by pair", said, body)


def _mark(x: float, y: float, point: Point) -> str:
    tip = f"<title>{text(f'pair {point.pair}: {point.ratio:.3f}')}</title>"
    if point.first == "A":
        return f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="4.5">{tip}</circle>\n'
    corners = f"{x:.1f},{y - 5.5:.1f} {x + 5.5:.1f},{y:.1f} {x:.1f},{y + 5.5:.1f} {x - 5.5:.1f},{y:.1f}"
    return f'<polygon class="mark solid" points="{corners}">{tip}</polygon>\n'


def _range(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = max((high - low) * 0.08, 0.01)
    return max(0.0, low - margin), high + margin


def _ticks(low: float, high: float) -> list[float]:
    """Four to nine round values within a range."""
    power = 10.0 ** math.floor(math.log10((high - low) / 2))
    step = next(power * m for m in (0.5, 1, 2, 5, 10) if (high - low) / (power * m) <= 7)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]

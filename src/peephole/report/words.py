"""Numbers and answers in words: the same on the terminal and in the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from peephole.evaluate.result import Result
from peephole.evaluate.statistics import Figure


def plain(text: str) -> str:
    """Text without anything that a terminal would act on: control characters and odd bytes are spelled out."""
    return "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in _utf8(text))


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def amount(value: float, unit: str) -> str:
    """A figure with its unit, three digits or so."""
    if unit == "s":
        if value >= 1:
            return f"{value:.2f} s"
        return f"{value * 1e3:.1f} ms" if value >= 1e-3 else f"{value * 1e6:.0f} µs"
    if unit == "bytes":
        for name, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if value >= size:
                return f"{value / size:.1f} {name}"
        return f"{value:.0f} B"
    text = f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
    return f"{text}/s" if unit == "1/s" else text


def interval_text(figure: Figure) -> str:
    """The interval of a figure's ratio; bounds beyond any use are cut."""
    if figure.low is None or figure.high is None:
        return "-"
    low = f"{figure.low:.3f}" if figure.low >= 0.001 else "<0.001"
    return f"{low} to {figure.high:.3f}" if figure.high < 1000 else f"{low} to >1000"


_LONG = {
    "cpu": "CPU time",
    "wall": "wall-clock time",
    "system_cpu": "CPU time of the whole machine",
    "flush": "time to flush",
    "syscalls": "system calls",
    "context_switches": "context switches",
    "page_faults": "page faults",
    "bytes_written": "bytes written",
}


def long_name(figure: str) -> str:
    """A figure's name in words."""
    return _LONG.get(figure, figure)


def program(command: list[str]) -> str:
    """The command's name for a sentence."""
    return PurePath(command[0]).name or command[0]


def rules_of(rule: str | None, needs: Sequence[str]) -> str:
    """The rules that remove a finding: one, with others that it needs; "" where there is only advice."""
    return " with ".join([rule, *needs]) if rule else ""


def _change(name: str, figure: Figure) -> str:
    """What happened to a figure, in words: `uses 71 % less CPU time (0.29 x, 0.28 to 0.31, 10 pairs)`."""
    assert figure.ratio is not None
    share = abs(1 - figure.ratio)
    if figure.ratio >= 2:
        size = f"{figure.ratio:.1f} times the"
    else:
        size = f"{share:.0%} {'less' if figure.ratio < 1 else 'more'}"
    numbers = f"{amount(figure.before, figure.unit)} to {amount(figure.after, figure.unit)}"
    within = f", {interval_text(figure)}" if figure.low is not None else ""
    return f"{size} {long_name(name)} ({numbers}; after/before {figure.ratio:.3f}{within})"


def sentence(result: Result) -> str:
    """The answer in one sentence."""
    name = program(result.command)
    figure = result.figures.get(result.primary)
    if result.verdict == "failed":
        return f"{name}: failed: {result.reason}"
    if result.verdict == "different":
        return f"{name}: different: {result.reason}"
    if result.pairs == 0:
        return f"{name}: no gain: {result.reason}"
    assert figure is not None
    if result.verdict in ("gain", "loss"):
        return f"{name}: {result.verdict}: {_change(result.primary, figure)}"
    ratio = "" if figure.ratio is None else f" (after/before {figure.ratio:.3f}, {interval_text(figure)})"
    return f"{name}: no gain: {result.reason}{ratio}"

"""The report of a capture: what was seen, and what is wasteful in it."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Any

from peephole.report.html import calls_figure, findings, whole
from peephole.report.markup import items, pairs, text
from peephole.report.seen import flames, timelines
from peephole.report.words import program
from peephole.trace import Capture, Finding


def capture_report(capture: Capture, calls: dict[str, int], found: list[Finding], withheld: int) -> str:
    """A page about a capture: its findings, its calls by name, how it was made."""
    meta = capture.meta
    worth = sum(f.saving.ns for f in found if f.saving is not None) / 1e9
    title = f"{program(meta.command or ['?'])}: {len(found)} findings"
    title += f", worth {worth:.2g} s of CPU a run" if worth else ""
    head = f'<p class="command">{text(shlex.join(meta.command))}</p>\n'
    parts = [
        ("findings", "Findings", findings([asdict(f) for f in found]) or "<p>Nothing worth changing.</p>\n"),
        ("calls", "System calls", calls_figure(calls, None)),
        ("timeline", "When the calls were made", timelines({"before": capture})),
        ("flame", "Where the time went", flames({"before": capture})),
        ("losses", "Not seen", _losses(meta.lost, withheld)),
        ("conditions", "Conditions", _conditions(capture)),
    ]
    return whole(title, "Peephole capture", head, parts)


def _losses(lost: int, withheld: int) -> str:
    if not lost:
        return "<p>No event was lost.</p>\n"
    return items([f"{lost:,} events were lost", f"{withheld:,} findings rest on a gap and are withheld"])


def _conditions(capture: Capture) -> str:
    meta = capture.meta
    shown: list[tuple[str, Any]] = [("engine", meta.engine), ("calls", f"{meta.events:,}"), ("lost", meta.lost)]
    shown += [(name, value) for name, value in meta.machine.items()]
    if meta.why_not_better:
        shown.append(("why no better engine", meta.why_not_better))
    return pairs(shown)

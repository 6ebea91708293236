"""What the captures of a result show in its report: timelines before and after, a flame graph."""

from __future__ import annotations

from pathlib import Path

from peephole.errors import CaptureError
from peephole.report.flame import flame, flame_figure
from peephole.report.markup import text
from peephole.report.timeline import Timeline, timeline, timeline_chart
from peephole.trace import Capture


def captures_of(folder: Path | None) -> dict[str, Capture]:
    """The captures beside a result: `before`, and `after` where the improved run was recorded. Missing ones are not."""
    found = {}
    for side, name in (("before", "capture"), ("after", "after")):
        if folder is not None and (folder / name / "meta.json").exists():
            from peephole.observe.capture import open_capture

            try:
                found[side] = open_capture(folder / name)
            except CaptureError:
                continue
    return found


def timelines(captures: dict[str, Capture]) -> str:
    """The timelines on one scale; nothing when no capture has calls."""
    found: dict[str, Timeline] = {}
    for side, capture in captures.items():
        one = timeline(capture)
        if one is not None:
            found[side] = one
    if not found:
        return ""
    seconds = max(one.seconds for one in found.values())
    body = ""
    for side, one in found.items():
        name = {"before": "before", "after": "after"}[side]
        head = f"<h3>{text(name.capitalize())}</h3>\n" if len(found) > 1 else ""
        body += f"{head}<figure>\n{timeline_chart(one, seconds, name)}</figure>\n"
    caption = (
        "Bars: calls of a process in each hundredth of the time (their height is the square root of the number); the "
        "line below: how long it lived. Recorded runs, so they take longer than the timed ones."
    )
    return body + f'<p class="soft">{text(caption)}</p>\n'


def flames(captures: dict[str, Capture]) -> str:
    """The flame graph of the unchanged run; nothing when it was recorded without stacks."""
    found = flame(captures["before"]) if "before" in captures else None
    return flame_figure(found) if found is not None else ""

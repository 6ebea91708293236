"""The files of `strace -ff`, one a thread, as one log with the thread's number on each line."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from pathlib import Path

from peephole.errors import CaptureError
from peephole.observe.strace_lines import lines_of

_TIME = re.compile(rb"(?:(\d\d):(\d\d):(\d\d)|(\d+))(\.\d+)? ")


def parts(file: Path) -> list[tuple[int, Path]]:
    """(tid, file) of FILE.TID, where FILE itself does not exist."""
    if str(file) == "-" or file.exists():
        return []
    found = [
        p
        for p in file.parent.glob(f"{file.name}.*")
        if p.suffix[1:].isdigit() and p.name[: -len(p.suffix)] == file.name
    ]
    return sorted((int(path.suffix[1:]), path) for path in found)


def merged(several: list[tuple[int, Path]]) -> Iterator[bytes]:
    """All lines in the order of their times, each after its thread's number.

    Raises CaptureError where the lines have no times: their order is then not known.
    """
    streams = [_stamped(tid, path) for tid, path in several]
    for _, _, _, line in heapq.merge(*streams):
        yield line


def _stamped(tid: int, path: Path) -> Iterator[tuple[float, int, int, bytes]]:
    last, days = 0.0, 0
    with path.open("rb") as text:
        for at, line in enumerate(lines_of(text)):
            m = _TIME.match(line)
            if m is None:
                if line.strip() and not line.startswith(b" > "):
                    raise CaptureError(
                        f"{path.name} line {at + 1} has no time, and files of -ff are put together by it; use -ttt"
                    )
                continue
            hours, minutes, seconds, since, part = m.groups()
            now = float(since) if since else int(hours) * 3600 + int(minutes) * 60 + int(seconds) + 86400.0 * days
            now += float(b"0" + part) if part else 0.0
            if not since and now < last - 43200:  # past midnight
                days, now = days + 1, now + 86400
            last = now
            yield now, tid, at, b"%d %s" % (tid, line)

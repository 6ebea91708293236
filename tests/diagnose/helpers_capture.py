"""Captures made from strace text, and prices that do not depend on the machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from peephole.diagnose.detectors import detectors
from peephole.diagnose.prices import Price, Prices
from peephole.observe.capture import write_capture
from peephole.observe.strace import parse
from peephole.trace import Capture, Meta

NAMES = sorted({name for d in detectors().values() for name in (*d.before, *d.after)} - {"answered"})
PRICES = Prices(
    "example",
    {name: Price(1000, 900, 1100) for name in NAMES}
    | {name: Price(50_000, 45_000, 60_000) for name in ("overwrite_truncating", "overwrite_again")},
)


def capture_of(lines: Iterable[bytes], folder: Path) -> Capture:
    tables = parse(lines)
    meta = Meta([], "import", 0, 0, tables.calls.num_rows, tables.lost)
    return write_capture(folder, tables.calls, tables.processes, tables.gaps, meta)

"""Captures made from strace text, and prices that do not depend on the machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from peephole.diagnose.detectors import detectors
from peephole.diagnose.prices import ANSWERED, FREE, Price, Prices
from peephole.observe.capture import write_capture
from peephole.observe.strace import parse
from peephole.trace import Capture, Meta

NAMES = {name for d in detectors().values() for name in (*d.before, *d.after)} | {ANSWERED}
DEAR = ("overwrite_call", "overwrite_again_4096")


def _price(name: str) -> Price:
    if name.endswith("_byte"):
        return FREE
    if ":" in name:
        return Price(60, 40, 120)
    return Price(50_000, 45_000, 60_000) if name in DEAR else Price(1000, 900, 1100)


PRICES = Prices("example", {name: _price(name) for name in sorted(NAMES)})


def capture_of(lines: Iterable[bytes], folder: Path) -> Capture:
    tables = parse(lines)
    meta = Meta([], "import", 0, 0, tables.calls.num_rows, tables.lost)
    return write_capture(folder, tables.calls, tables.processes, tables.gaps, meta)

"""Captures made from strace text, and prices that do not depend on the machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from peephole.diagnose.prices import Price, Prices
from peephole.observe.capture import write_capture
from peephole.observe.strace import parse
from peephole.trace import Capture, Meta

NAMES = (
    *("getppid", "write_64", "write_512", "write_4096", "write_65536", "open_close", "stat", "lstat", "access"),
    *("pread_4096", "fsync", "overwrite_in_place"),
)
PRICES = Prices(
    "example",
    {name: Price(1000, 900, 1100) for name in NAMES} | {"overwrite_truncating": Price(50_000, 45_000, 60_000)},
)


def capture_of(lines: Iterable[bytes], folder: Path) -> Capture:
    tables = parse(lines)
    meta = Meta([], "import", 0, 0, tables.calls.num_rows, tables.lost)
    return write_capture(folder, tables.calls, tables.processes, tables.gaps, meta)

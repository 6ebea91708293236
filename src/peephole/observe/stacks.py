"""The stacks of a spill (core/record/unwind.h) as rows of stacks.parquet."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from peephole.observe.capture import schema
from peephole.trace import FRAME_COLUMNS

_HEAD = struct.Struct("<II")
_FRAME = struct.Struct("<QII")


def frames_table(folder: Path) -> Any:
    """An Arrow table, empty where there are no stacks; what was cut off at the end is left out."""
    import pyarrow as pa

    places = _places(folder / "frames.raw")
    rows: dict[str, list[Any]] = {name: [] for name in FRAME_COLUMNS}
    path = folder / "stacks.raw"
    raw = path.read_bytes() if path.exists() else b""
    at, stack = 0, 0
    while at + _HEAD.size <= len(raw):
        count, _ = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        if at + count * _FRAME.size > len(raw):
            break
        stack += 1
        for depth in range(count):
            ip, number, python = _FRAME.unpack_from(raw, at + depth * _FRAME.size)
            place = places[number] if number < len(places) else (None, None, None, None, None)
            row = (stack, depth, _signed(ip), *place, "native")
            if python:
                row = (stack, depth, None, None, None, *place[2:], "python")
            for name, value in zip(FRAME_COLUMNS, row, strict=True):
                rows[name].append(value)
        at += count * _FRAME.size
    return pa.table(rows, schema=schema(FRAME_COLUMNS))


def _places(path: Path) -> list[tuple[Any, ...]]:
    """library, offset, function, file, line of each place."""
    if not path.exists():
        return []
    words = path.read_bytes().split(b"\0")[:-1]
    found = []
    for at in range(0, len(words) - len(words) % 5, 5):
        library, function, file, line, address = words[at : at + 5]
        found.append((library or None, int(address), _text(function), _text(file), int(line) or None))
    return found


def _text(word: bytes) -> str | None:
    return word.decode("utf-8", "backslashreplace") if word else None


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value

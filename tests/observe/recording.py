"""What the tests of the recorder share."""

from __future__ import annotations

from typing import Any

from peephole import native


def program(name: str) -> str:
    """A test program of core/test."""
    return str(native.path(name))


def rows(capture: Any, table: str = "calls") -> list[dict[str, Any]]:
    """A table of a capture as plain rows."""
    import pyarrow.parquet as pq

    return list(pq.read_table(getattr(capture, table)).to_pylist())

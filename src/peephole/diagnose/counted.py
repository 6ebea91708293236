"""How often each program made each call."""

from __future__ import annotations

from collections import Counter

from peephole.diagnose.tables import DUCKDB, tables_of
from peephole.trace import Capture


def calls_by_program(captures: list[Capture], engine: str = DUCKDB) -> Counter[tuple[str, str]]:
    """Calls by (program, name of the call) over all captures."""
    from ibis import _

    counts: Counter[tuple[str, str]] = Counter()
    for capture in captures:
        with tables_of(capture, engine) as tables:
            by_image = tables.calls.group_by("image", "name").aggregate(n=_.count())
            named = by_image.join(tables.programs, "image").group_by("program", "name").aggregate(n=_.n.sum())
            for row in named.to_pyarrow().to_pylist():
                counts[row["program"], row["name"]] += row["n"]
    return counts

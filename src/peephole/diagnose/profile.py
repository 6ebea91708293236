"""The view of hrprof and vprof: time by function and by call, over all processes of a server.

A function's exclusive time is that of samples taken in it, its inclusive time that of samples taken in it or in what
it called. Both come from samples of CPU time (`observe --stacks`); the calls need none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peephole.diagnose.symbols import readable_name
from peephole.diagnose.tables import DUCKDB, Tables, tables_of
from peephole.trace import Capture


@dataclass(frozen=True)
class Function:
    """One function of one file: CPU nanoseconds in it alone, and with what it called."""

    name: str
    library: str
    inclusive_ns: int
    exclusive_ns: int
    processes: int


@dataclass(frozen=True)
class CallTime:
    """One system call over all processes: how often, how often in vain, how long; None where nobody looked."""

    name: str
    calls: int
    errors: int
    processes: int
    inside_ns: int | None  # from entering to leaving
    blocked_ns: int | None  # of that, asleep and waiting for a CPU
    sampled_ns: int | None  # CPU time inside, by samples


@dataclass(frozen=True)
class Profile:
    """Functions by exclusive time, calls by number, and the stacks for a flame graph: `a;b;c` -> CPU nanoseconds."""

    functions: list[Function]
    calls: list[CallTime]
    folded: dict[str, int]
    why_no_functions: str | None = None


def profile(capture: Capture, engine: str = DUCKDB) -> Profile:
    """The profile of one capture."""
    with tables_of(capture, engine) as tables:
        samples, frames = tables.extra("samples.parquet"), tables.extra("stacks.parquet")
        tick_ns = capture.meta.tick_ns
        calls = _calls(tables, samples, tick_ns)
        if samples is None or frames is None or not tick_ns:
            return Profile([], calls, {}, "no CPU time was sampled; observe with --stacks")
        return Profile(_functions(samples, frames, tick_ns), calls, _folded(samples, frames, tick_ns))


def _calls(tables: Tables, samples: Any, tick_ns: int | None) -> list[CallTime]:
    from ibis import _

    by_name = tables.calls.group_by("name").aggregate(
        calls=_.count(),
        errors=(_.ret < 0).cast("int64").sum(),
        processes=_.pid.nunique(),
        inside_ns=_.took_ns.sum(),
        blocked_ns=_.blocked_ns.sum(),
    )
    rows = by_name.to_pyarrow().to_pylist()
    sampled: dict[str, int] = {}
    if samples is not None and tick_ns:
        inside = samples.filter(_.in_kernel).group_by(name=_.name.cast("string")).aggregate(n=_.count())
        sampled = {row["name"]: row["n"] * tick_ns for row in inside.to_pyarrow().to_pylist()}
    found = [
        CallTime(
            row["name"],
            row["calls"],
            row["errors"] or 0,
            row["processes"],
            row["inside_ns"],
            row["blocked_ns"],
            sampled.get(row["name"], 0) if samples is not None else None,
        )
        for row in rows
    ]
    return sorted(found, key=lambda c: (-(c.sampled_ns or 0), -c.calls, c.name))


def _named(frames: Any) -> Any:
    """Frames with `name` and `library` as text."""
    import ibis
    from ibis import _

    library = ibis.coalesce(_.library.cast("string").re_replace("^.*/", ""), ibis.literal("?"))
    frames = frames.select("stack", "depth", "function", library=library)
    unnamed = ibis.literal("[").concat(frames.library, "]")
    return frames.select("stack", "depth", "library", name=ibis.coalesce(frames.function, unnamed))


def _functions(samples: Any, frames: Any, tick_ns: int) -> list[Function]:
    from ibis import _

    taken = samples.filter(_.stack.notnull()).group_by("stack", "pid").aggregate(n=_.count())
    named = _named(frames).group_by("stack", "name", "library").aggregate(leaf=(_.depth == 0).any())
    rows = (
        taken.join(named, "stack")
        .group_by("name", "library")
        .aggregate(inclusive=_.n.sum(), exclusive=_.n.sum(where=_.leaf), processes=_.pid.nunique())
    )
    found = [
        Function(
            readable_name(row["name"]),
            row["library"],
            row["inclusive"] * tick_ns,
            (row["exclusive"] or 0) * tick_ns,
            row["processes"],
        )
        for row in rows.to_pyarrow().to_pylist()
    ]
    return sorted(found, key=lambda f: (-f.exclusive_ns, -f.inclusive_ns, f.name))


def _folded(samples: Any, frames: Any, tick_ns: int) -> dict[str, int]:
    from ibis import _

    taken = samples.filter(_.stack.notnull()).mutate(call=_.name.cast("string").fill_null(""))
    taken = taken.group_by("stack", "call").aggregate(n=_.count()).to_pyarrow().to_pylist()
    chains: dict[int, list[str]] = {}
    for row in _named(frames).order_by("stack", "depth").to_pyarrow().to_pylist():
        chains.setdefault(row["stack"], []).insert(0, readable_name(row["name"]).replace(";", ":"))
    folded: dict[str, int] = {}
    for row in taken:
        chain = [*chains.get(row["stack"], ["?"]), *([row["call"]] if row["call"] else [])]
        folded[";".join(chain)] = folded.get(";".join(chain), 0) + row["n"] * tick_ns
    return folded

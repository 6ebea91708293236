"""What the exports share: calls as spans of time, programs and threads with names, stacks with weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from peephole.trace import Capture

#: a call whose entry nobody saw is drawn so long at most, plus its time asleep
SHOWN_NS = 1000
BATCH_ROWS = 1 << 16


@dataclass(frozen=True)
class Process:
    """A process by its last image: what a viewer shows as its name."""

    pid: int
    name: str
    argv: list[str]


def shown(text: bytes | None) -> str:
    """Bytes of a path or an argument for a format that has only Unicode."""
    return "" if text is None else text.decode("utf-8", "backslashreplace")


def processes(capture: Capture) -> dict[int, Process]:
    """By pid; the last image of a number that was used again."""
    import pyarrow.parquet as pq

    found: dict[int, Process] = {}
    for row in pq.read_table(capture.processes).to_pylist():
        exe = shown(row["exe"])
        argv = [shown(word) for word in row["argv"] or []]
        found[row["pid"]] = Process(row["pid"] or 0, exe.rpartition("/")[2] or f"pid {row['pid']}", argv)
    return found


def programs(capture: Capture) -> dict[int, str]:
    """image -> the program's name."""
    import pyarrow.parquet as pq

    table = pq.read_table(capture.processes, columns=["image", "exe", "pid"]).to_pylist()
    return {row["image"]: shown(row["exe"]).rpartition("/")[2] or f"pid {row['pid']}" for row in table}


def calls(capture: Capture, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of calls.parquet in order; columns that an older capture lacks are null."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(capture.calls) as file:
        have = set(file.schema_arrow.names)
        wanted = None if columns is None else [name for name in columns if name in have]
        blank = {} if columns is None else {name: None for name in columns if name not in have}
        for batch in file.iter_batches(BATCH_ROWS, columns=wanted):
            for row in batch.to_pylist():
                yield row | blank


@dataclass(frozen=True)
class Slice:
    """One call as a span; `estimated` when its beginning is."""

    start_ns: int
    end_ns: int
    estimated: bool
    row: dict[str, Any]


def slices(capture: Capture) -> Iterator[Slice]:
    """Every call that came back and has a time, in the order of their ends; those of one thread do not overlap."""
    names = ["pid", "tid", "image", "enter_ns", "exit_ns", "name", "ret", "path", "address", "blocked_ns", "compat"]
    last: dict[int, int] = {}
    for row in calls(capture, [*names, *(f"a{i}" for i in range(6)), "path2"]):
        end, start = row["exit_ns"], row["enter_ns"]
        if end is None:
            continue
        if start is None:
            start = max(last.get(row["tid"], 0), end - (row["blocked_ns"] or 0) - SHOWN_NS)
        last[row["tid"]] = end
        yield Slice(start, end, row["enter_ns"] is None, row)


@dataclass(frozen=True)
class Weighted:
    """Stacks, outermost first, with what each weighs."""

    unit: str  # nanoseconds | none (a count of calls)
    stacks: dict[tuple[str, ...], int]


def weighted(capture: Capture) -> Weighted:
    """Where time goes: by the cpu-clock where it was sampled, else by the calls' times, else how often they came."""
    samples = capture.extra("samples.parquet")
    if samples is not None and capture.meta.tick_ns:
        return _sampled(capture, capture.meta.tick_ns)
    names = programs(capture)
    timed = capture.meta.engine in ("ebpf-full", "inprocess", "ptrace", "import")
    frames = _frames(capture)
    counts: dict[tuple[str, ...], int] = {}
    for row in calls(capture, ["image", "name", "enter_ns", "exit_ns", "stack"]):
        above = frames.get(row["stack"], ())
        stack = (names.get(row["image"], "?"), *above, row["name"])
        known = row["enter_ns"] is not None and row["exit_ns"] is not None
        weight = (row["exit_ns"] - row["enter_ns"] if known else 0) if timed else 1
        counts[stack] = counts.get(stack, 0) + weight
    if timed and not any(counts.values()):  # strace without -T
        return Weighted("none", dict.fromkeys(counts, 1))
    return Weighted("nanoseconds" if timed else "none", counts)


def _sampled(capture: Capture, tick_ns: int) -> Weighted:
    import pyarrow.parquet as pq

    names, frames = programs(capture), _frames(capture)
    counts: dict[tuple[str, ...], int] = {}
    for row in pq.read_table(capture.folder / "samples.parquet").to_pylist():
        leaf = (row["name"],) if row["name"] else ("[kernel]",) if row["in_kernel"] else ()
        stack = (names.get(row["image"], "?"), *frames.get(row["stack"], ()), *leaf)
        counts[stack] = counts.get(stack, 0) + tick_ns
    return Weighted("nanoseconds", counts)


def _frames(capture: Capture) -> dict[int | None, tuple[str, ...]]:
    """Stack -> words for its frames, outermost first."""
    import pyarrow.parquet as pq

    path = capture.extra("stacks.parquet")
    found: dict[int | None, list[str]] = {}
    if path is not None:
        for row in pq.read_table(path).sort_by([("stack", "ascending"), ("depth", "descending")]).to_pylist():
            library = shown(row["library"]).rpartition("/")[2]
            word = row["function"] or (f"{library}+{row['offset']:#x}" if library else f"{row['ip']:#x}")
            found.setdefault(row["stack"], []).append(word)
    return {key: tuple(words) for key, words in found.items()}

"""strace's text, as `strace -f -ttt -T` writes it; `peephole import` reads it again."""

from __future__ import annotations

from typing import Any, BinaryIO

from peephole.observe.decode import arguments, quoted, result
from peephole.report.exports.slices import SHOWN_NS, calls
from peephole.trace import Capture


def write(capture: Capture, file: BinaryIO) -> int:
    """One line a call in the order of their ends, and one for each end of a process; how many calls.

    Times are of the day, where the capture knows how far its clock is from that. A call whose entry nobody saw has no
    duration. What pointers pointed to, but for paths and exec's words, is not in a capture and shows as an address.
    """
    import pyarrow.parquet as pq

    images = {row["image"]: row for row in pq.read_table(capture.processes).to_pylist()}
    by_pid: dict[int, list[dict[str, Any]]] = {}
    for row in images.values():
        by_pid.setdefault(row["pid"], []).append(row)
    ends = sorted((r["end_ns"], r["pid"], r["exit_code"]) for r in images.values() if r["exit_code"] is not None)
    count, epoch_ns = 0, int(capture.meta.machine.get("epoch_ns", 0))
    for row in calls(capture):
        now = row["exit_ns"] if row["exit_ns"] is not None else row["enter_ns"]
        while ends and now is not None and ends[0][0] < now:
            file.write(_end(epoch_ns, *ends.pop(0)))
        file.write(_line(epoch_ns, row, images, by_pid))
        count += 1
    for end in ends:
        file.write(_end(epoch_ns, *end))
    return count


def _line(epoch_ns: int, row: dict[str, Any], images: dict[int, Any], by_pid: dict[int, list[Any]]) -> bytes:
    tid = "" if row["tid"] is None else f"{row['tid']} "
    start, took = row["enter_ns"], ""
    if start is not None and row["exit_ns"] is not None:
        took = f" <{_seconds(row['exit_ns'] - start)}>"
    elif row["exit_ns"] is not None:
        start = row["exit_ns"] - (row["blocked_ns"] or 0) - SHOWN_NS
    time = "" if start is None else f"{_seconds(epoch_ns + start)} "
    words = arguments(row)
    if row["name"] in ("execve", "execveat") and row["ret"] == 0:
        words = [quoted(row["path"] or b""), _argv(row, images, by_pid), "NULL"]
        words = ["AT_FDCWD", *words, "0"] if row["name"] == "execveat" else words
    return f"{tid}{time}{row['name']}({', '.join(words)}) = {result(row)}{took}\n".encode()


def _argv(row: dict[str, Any], images: dict[int, Any], by_pid: dict[int, list[Any]]) -> str:
    """The words of the image that this exec began: the next one of its process, or the command's own first."""
    now = row["exit_ns"] or 0
    later = [i for i in by_pid.get(row["pid"], []) if i["start_ns"] is not None and i["start_ns"] <= now]
    image = max(later, key=lambda i: i["start_ns"], default=images.get(row["image"]))
    argv = (image or {}).get("argv") or []
    return f"[{', '.join(quoted(word) for word in argv)}]"


def _end(epoch_ns: int, when_ns: int, pid: int, status: int) -> bytes:
    import signal

    code, sign = status >> 8, status & 0x7F
    if sign:
        name = signal.Signals(sign).name if sign in list(signal.Signals) else f"SIGRT_{sign - 32}"
        words = f"killed by {name}{' (core dumped)' if status & 0x80 else ''}"
    else:
        words = f"exited with {code}"
    return f"{pid} {_seconds(epoch_ns + (when_ns or 0))} +++ {words} +++\n".encode()


def _seconds(ns: int) -> str:
    return f"{ns // 1_000_000_000}.{ns % 1_000_000_000:09d}"

"""Chrome's trace event format (JSON), for chrome://tracing and Perfetto's viewer."""

from __future__ import annotations

import json
from typing import BinaryIO

from peephole.observe.decode import text
from peephole.report.exports.slices import processes, shown, slices
from peephole.trace import Capture


def write(capture: Capture, file: BinaryIO) -> int:
    """One complete event a call; how many."""
    file.write(b'{"displayTimeUnit":"ns","otherData":{"producer":"peephole"},"traceEvents":[\n')
    for process in processes(capture).values():
        named = {"ph": "M", "name": "process_name", "pid": process.pid, "tid": process.pid}
        file.write(json.dumps(named | {"args": {"name": process.name}}).encode() + b",\n")
    count = 0
    for s in slices(capture):
        args = {"ret": s.row["ret"], "call": text(s.row)}
        if s.row["path"] is not None:
            args["path"] = shown(s.row["path"])
        if s.estimated:
            args["start"] = "estimated"
        event = {
            "ph": "X",
            "cat": "syscall",
            "name": s.row["name"],
            "pid": s.row["pid"],
            "tid": s.row["tid"],
            "ts": s.start_ns / 1000,
            "dur": (s.end_ns - s.start_ns) / 1000,
            "args": args,
        }
        file.write((b",\n" if count else b"") + json.dumps(event).encode())
        count += 1
    file.write(b"\n]}\n")
    return count

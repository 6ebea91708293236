"""A result and a capture that have everything a report can show, with hostile names."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from peephole.evaluate.result import GivenUp, Result, RuleUse
from peephole.evaluate.same import Difference
from peephole.evaluate.statistics import Figure
from peephole.evaluate.warnings import Warning
from peephole.observe.capture import schema
from peephole.trace import CALL_COLUMNS, FRAME_COLUMNS, GAP_COLUMNS, PROCESS_COLUMNS, SAMPLE_COLUMNS, Meta

EVIL = "<script>alert('1')</script>\x1b[31m\"&\udcff"
LONG = "/srv/" + "a-very-long-name-without-any-blank/" * 6


def whole_result() -> Result:
    """A gain, with a name of every kind that is out to break the page."""
    finding = {
        "slug": "small_writes", "kind": "crossing", "program": EVIL, "object": LONG, "calls": 5_000_000,
        "layer": ["python3", "libc", EVIL], "saving": {"ns": 5_000_000, "low": 1_000_000, "high": 9_000_000},
        "rule": "coalesce_writes", "gives_up": ["visibility"], "advice": EVIL,
    }  # fmt: skip
    kept, lost = {"kept": True, "bound": None, "story": []}, {"kept": False, "bound": "10ms", "story": ["A", EVIL]}
    guarantees = {
        "weak": {"contents": kept, "visibility": lost},
        "ext4-ordered": {"contents": kept, "visibility": kept},
    }
    return Result(
        verdict="gain", reason=EVIL, command=["python3", EVIL, LONG], primary="cpu", pairs=12,
        figures={
            "cpu": Figure("s", "lower", 1.0, 0.5, 0.5, 0.45, 0.55, 0.99, 12, 0.04),
            "wall": Figure("s", "lower", 1.2, 0.7, 0.58, 0.4, 0.8, 0.99, 12, 0.3),
            "syscalls": Figure("calls", "lower", 60_000, 300, 0.005, None, None, None, 1),
            EVIL: Figure("", "higher", 1, 1, 1.0, None, None, None, 1),
        },
        rules=[RuleUse("coalesce_writes", "verified", 123_456_789, 1, {EVIL: 3}, EVIL)],
        given_up=[GivenUp("visibility", "10ms", "weak", ["coalesce_writes"], [LONG])],
        declined=[{"rule": EVIL, "why": EVIL}], differences=[Difference(EVIL, LONG, 3)],
        not_covered=[{"pid": 1, "exe": LONG, "why": EVIL}], findings=[finding],
        calls={"before": {EVIL: 9, "write": 60_000}, "after": {EVIL: 9, "write": 40}},
        ratios=[{"pair": n, "first": "AB"[n % 2], "ratios": {"cpu": 0.45 + n / 100}} for n in range(1, 13)],
        proofs=[
            {"rule": "coalesce_writes", "digest": "ab" * 32, "seconds": 9.0, "queries": 188, "guarantees": guarantees}
        ],
        warnings=[Warning("noisy-cpu", EVIL)], conditions={EVIL: LONG, "list": [EVIL], "repeat": EVIL + LONG},
        paths={"folder": LONG}, self_cost={"seconds": 1.0, "cpu_s": 0.5, "runs": 26},
    )  # fmt: skip


def _rows(columns: dict[str, str], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [dict.fromkeys(columns) | row for row in rows]


def capture_with_stacks(folder: Path, processes: int = 3) -> Path:
    """A capture as `observe --stacks` leaves it: calls of some processes, CPU samples, sampled stacks."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    names = ("write", "read", "openat")
    calls = [
        {"seq": i, "pid": 100 + i % processes, "tid": 100, "image": i % processes, "exit_ns": 1_000_000 * i, "nr": 1,
         "name": names[i % len(names)], "ret": 0, "cpu": 0, "stack": i % 2}
        for i in range(600)
    ]  # fmt: skip
    # A call that never returned, and one of which nobody knows when it was.
    calls += [{"seq": 600, "pid": 100, "image": 0, "name": "exit_group", "enter_ns": 599_000_000}]
    calls += [{"seq": 601, "pid": 100, "image": 0, "name": "exit_group"}]
    images = [
        {"image": n, "pid": 100 + n, "ppid": 1, "start_ns": 1_000_000 * n, "end_ns": 500_000_000,
         "exe": b"/usr/bin/prog%d" % n}
        for n in range(processes)
    ]  # fmt: skip
    evil = EVIL.encode("utf-8", "replace").decode()
    chains = {0: ("write", "flush_all<int>", "main"), 1: (evil, "main")}
    frames = [
        {"stack": stack, "depth": depth, "library": b"/usr/bin/prog0", "function": name, "kind": "native"}
        for stack, chain in chains.items()
        for depth, name in enumerate(chain)
    ]
    samples = [
        {"ns": i, "cpu": 0, "pid": 100, "tid": 100, "image": 0, "in_kernel": i % 3 == 0,
         "name": "write" if i % 3 == 0 else None, "ip": 1, "stack": int(i % 3 != 0)}
        for i in range(90)
    ]  # fmt: skip
    tables = {
        "calls": (CALL_COLUMNS, calls), "processes": (PROCESS_COLUMNS, images), "gaps": (GAP_COLUMNS, []),
        "stacks": (FRAME_COLUMNS, frames), "samples": (SAMPLE_COLUMNS, samples),
    }  # fmt: skip
    for name, (columns, rows) in tables.items():
        pq.write_table(pa.Table.from_pylist(_rows(columns, rows), schema=schema(columns)), folder / f"{name}.parquet")
    meta = Meta(["prog0"], "ebpf", 0, 600_000_000, len(calls), 0, tick_ns=1_000_000)
    (folder / "meta.json").write_text(json.dumps(asdict(meta)))
    return folder

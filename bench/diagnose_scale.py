"""How long all detectors take over a large capture, and how much memory.

The capture is made of every detector's own examples, one trace that is repeated: so every detector has work, and the
share of each call is that of waste, not of ordinary programs. Every 50 repeats are another process, every repeat has
its own descriptions, and its paths carry one of 997 endings. Times run on: 2 microseconds a call.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: millions of calls; the last ones only with --long
SIZES, LONG_SIZES = (1, 3, 10), (30, 100)
PROCESS_REPEATS, ENDINGS, CALL_NS = 50, 997, 2000


def unit() -> Any:
    """One repeat: the rows of every detector's examples."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from peephole.diagnose.detectors import detectors, example
    from peephole.observe.strace import parse

    tables, ofds = [], 0
    for text in (text for d in detectors().values() for text in d.fires.values()):
        calls = parse(example(text)).calls
        at = calls.schema.get_field_index("ofd")
        tables.append(calls.set_column(at, "ofd", pc.add(calls["ofd"], ofds)))
        ofds += 1 + (pc.max(calls["ofd"]).as_py() or 0)
    return pa.concat_tables(tables).combine_chunks()


def repeated(calls: int) -> Iterator[Any]:
    """Record batches of `calls` rows: the unit again and again, told apart."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    one = unit()
    size = one.num_rows
    kinds = one.schema
    at = np.arange(size)
    base = {name: one[name].combine_chunks() for name in kinds.names}
    ofds = int(pc.max(base["ofd"]).as_py()) + 1
    done = repeat = 0
    while done < calls:
        rows = min(size, calls - done)
        process = 1 + repeat // PROCESS_REPEATS
        columns = dict(base)
        ending = f".{repeat % ENDINGS}".encode()
        columns["seq"] = pa.array(done + at)
        columns["exit_ns"] = pa.array((done + at) * CALL_NS)
        columns["enter_ns"] = pa.array((done + at) * CALL_NS - CALL_NS // 2)
        columns["pid"] = columns["tid"] = pa.array(np.full(size, process, dtype=np.int32))
        columns["image"] = pa.array(np.full(size, process))
        columns["ofd"] = pc.add(base["ofd"], ofds * repeat)
        for name in ("path", "path2"):
            columns[name] = pc.binary_join_element_wise(base[name], ending, b"")
        yield pa.record_batch([columns[name] for name in kinds.names], schema=kinds).slice(0, rows)
        done, repeat = done + rows, repeat + 1


def batches(calls: int) -> Iterator[Any]:
    """The same in batches of the size that a recorder writes."""
    import pyarrow as pa

    held: list[Any] = []
    for batch in repeated(calls):
        held.append(batch)
        if sum(b.num_rows for b in held) >= 1 << 18:
            yield from pa.Table.from_batches(held).combine_chunks().to_batches()
            held = []
    if held:
        yield from pa.Table.from_batches(held).combine_chunks().to_batches()


def make(folder: Path, calls: int) -> None:
    """Write the capture."""
    import pyarrow as pa

    from peephole.observe.capture import schema, write_capture
    from peephole.trace import GAP_COLUMNS, PROCESS_COLUMNS, Meta

    processes = 1 + calls // (unit().num_rows * PROCESS_REPEATS) + 1
    rows: dict[str, list[Any]] = {name: [None] * processes for name in PROCESS_COLUMNS}
    rows["image"] = rows["pid"] = list(range(1, processes + 1))
    rows["exe"] = [f"/usr/bin/worker{n % 7}".encode() for n in range(processes)]
    table = pa.table(rows, schema=schema(PROCESS_COLUMNS))
    gaps = pa.table({name: [] for name in GAP_COLUMNS}, schema=schema(GAP_COLUMNS))
    write_capture(folder, batches(calls), table, gaps, Meta([], "ebpf", 0, calls * CALL_NS, calls, 0))


def diagnosed(folder: Path) -> dict[str, float]:
    """Seconds, seconds of CPU and peak megabytes of one diagnosis, in this process."""
    from peephole.diagnose.detectors import detectors
    from peephole.diagnose.engine import diagnose
    from peephole.diagnose.prices import Price, Prices
    from peephole.observe.capture import open_capture

    names = {name for d in detectors().values() for name in (*d.before, *d.after)}
    prices = Prices("1 us each", {name: Price(1000, 900, 1100) for name in names if ":" not in name})
    start, cpu = time.monotonic(), time.process_time()
    found = diagnose([open_capture(folder)], prices)
    seconds, cpu_seconds = time.monotonic() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mb": peak,
        "slugs": len({f.slug for f in found.findings}),
    }


def _alone(*words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "bench.diagnose_scale", *words], stdout=subprocess.PIPE, check=True, text=True
    )
    return json.loads(done.stdout or "null")


def options(words: list[str]) -> argparse.Namespace:
    """`--long` for up to 100 million calls, `--dir` for where the captures are made."""
    parser = argparse.ArgumentParser(prog="python -m bench diagnose_scale")
    parser.add_argument("--long", action="store_true", help="30 and 100 million calls, too: it takes 15 minutes")
    parser.add_argument("--dir", type=Path, default=None, help="where the captures are made")
    return parser.parse_args(words)


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Figures for each size: `s_10m`, `cpu_s_10m`, `s_per_million_10m` (the same for all where time is linear),
    `peak_mb_10m`, `detectors_10m` (how many found something).
    """
    figures: dict[str, float] = {}
    for millions in (*SIZES, *(LONG_SIZES if given.long else ())):
        with tempfile.TemporaryDirectory(dir=given.dir) as place:
            capture = Path(place) / "capture"
            _alone("make", str(capture), str(millions * 1_000_000))
            result = _alone("diagnose", str(capture))
        name = f"{millions}m"
        figures[f"s_{name}"] = round(result["seconds"], 1)
        figures[f"cpu_s_{name}"] = round(result["cpu_seconds"], 1)
        figures[f"s_per_million_{name}"] = round(result["seconds"] / millions, 2)
        figures[f"peak_mb_{name}"] = round(result["peak_mb"])
        figures[f"detectors_{name}"] = result["slugs"]
    conditions = {"cpus": os.cpu_count(), "load": os.getloadavg()[0]}
    return {"figures": figures, "conditions": conditions}


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        print(json.dumps(diagnosed(Path(sys.argv[2]))))

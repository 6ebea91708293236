"""Drives a server for `peephole evaluate --drive`: warms it, drives it, and says what the driving cost the server.

    python -I -S drive.py [--warm CMD]... [--check CMD] -- CMD...

CMD prints one line of JSON last, or is pgbench. Printed: CMD's numbers, `server_cpu_us` (CPU of the server's whole tree
for each request or transaction), and `window`, the driving's begin and end (nanoseconds of CLOCK_MONOTONIC). The server
is whatever else the process that started this one has started. CPU of threads that live is taken in nanoseconds, of
processes that ended meanwhile in the kernel's ticks.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import time

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
PGBENCH = {
    "requests": r"number of transactions actually processed: (\d+)",
    "failed": r"number of failed transactions: (\d+)",
    "requests_per_s": r"^tps = ([\d.]+)",
    "latency_ms": r"latency average = ([\d.]+)",
}


def children(pid: int) -> list[int]:
    """Direct children of a process."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for tid in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - pathlib costs 10 ms of start-up
            with open(f"/proc/{pid}/task/{tid}/children") as f:  # noqa: PTH123
                found += map(int, f.read().split())
    return found


def server() -> list[int]:
    """The server's processes, parents first."""
    mine = os.getpid()
    found, todo = [], [pid for pid in children(os.getppid()) if pid != mine]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children(pid)
    return found


def cpu_ns() -> tuple[dict[str, int], int]:
    """CPU so far: of each living thread of the server, and of the children that its processes have waited for."""
    living: dict[str, int] = {}
    ended = 0
    for pid in server():
        with contextlib.suppress(OSError):
            for tid in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
                with open(f"/proc/{pid}/task/{tid}/schedstat") as f:  # noqa: PTH123
                    living[tid] = int(f.read().split()[0])
            with open(f"/proc/{pid}/stat") as f:  # noqa: PTH123
                fields = f.read().rsplit(")", 1)[1].split()
            ended += (int(fields[13]) + int(fields[14])) * TICK_NS  # cutime, cstime
    return living, ended


def spent_ns(before: tuple[dict[str, int], int], after: tuple[dict[str, int], int]) -> int:
    """CPU between two looks."""
    living = sum(ns - before[0].get(tid, 0) for tid, ns in after[0].items())
    return living + after[1] - before[1]


def numbers(text: str) -> dict[str, float]:
    """What the driver said: JSON in its last line, or pgbench's report."""
    with contextlib.suppress(ValueError, IndexError):
        found = json.loads(text.strip().splitlines()[-1])
        if isinstance(found, dict):
            return found
    matches = {name: re.search(pattern, text, re.MULTILINE) for name, pattern in PGBENCH.items()}
    return {name: float(m[1]) for name, m in matches.items() if m}


def quietly(words: list[str], what: str) -> None:
    """Run a command that is not measured; its failure is ours."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"drive: {what} ended with {done.returncode}: {done.stdout.strip()[-2000:]}")


def main() -> int:
    words = sys.argv[1:]
    warm, check = [], []
    while words and words[0] in ("--warm", "--check"):
        (warm if words[0] == "--warm" else check).append(shlex.split(words[1]))
        words = words[2:]
    if words[:1] != ["--"] or len(words) < 2:
        sys.exit("usage: drive.py [--warm CMD]... [--check CMD]... -- CMD...")
    for command in warm:
        quietly(command, "warming")
    before, begin_ns = cpu_ns(), time.monotonic_ns()
    done = subprocess.run(words[1:], capture_output=True, text=True)
    end_ns = time.monotonic_ns()
    time.sleep(0.05)  # a server may wait for processes that have ended only now
    cpu = spent_ns(before, cpu_ns())
    found = numbers(done.stdout)
    if done.returncode or not found.get("requests"):
        said = (done.stdout + done.stderr).strip()[-2000:]
        print(f"drive: {words[1]} ended with {done.returncode}: {said}", file=sys.stderr)
        print(json.dumps(found))
        return 1
    for command in check:
        quietly(command, "the check")
    found["server_cpu_us"] = cpu / 1000 / found["requests"]
    print(json.dumps(found | {"window": [begin_ns, end_ns]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

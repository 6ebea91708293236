"""What must hold of an improved squid whatever happens to it: stopped, killed, attached to under load."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import drive, servers
from bench.servers import Ground, NoBench, User
from peephole.improve.live import attach, detach

INVALID = re.compile(r"(\d+) Invalid entries")
SEED = 1


def answer(words: Sequence[str]) -> dict[str, float]:
    """What the load generator says, also when some of its requests failed."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=servers.RUN_S)
    try:
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))
    except (ValueError, IndexError):
        raise NoBench(f"the load generator said nothing: {done.stderr.strip()[-200:]}") from None


def read_back(squid: Any, conf: Path, objects: int) -> dict[str, float]:
    """Every object from a plain squid on the same cache; what its log says of invalid entries is added."""
    log = squid.bench.folder / "cache.log"
    start = log.stat().st_size if log.exists() else 0
    with servers.running(squid.command(conf), squid.bench.who, squid.port):
        for _ in range(100):
            if b"Finished rebuilding" in log.read_bytes()[start:]:
                break
            time.sleep(0.1)
        found = answer(squid.asks("get", 8, objects, objects))
    said = log.read_bytes()[start:].decode(errors="replace")
    return found | {"invalid": float(sum(int(n) for n in INVALID.findall(said)))}


def clean_stop(squid: Any, conf: Path, ground: Ground, rules: Sequence[str], objects: int) -> dict[str, float]:
    """Reload every object under rules, stop, and read all of them back with a plain squid."""
    servers.reset(ground)
    with servers.improved(squid.command(conf), squid.bench.who, squid.port, rules):
        stored = answer(squid.asks("reload", 8, objects, objects))
        time.sleep(1)  # the last objects may still be on their way to the disk
    found = read_back(squid, conf, objects)
    return {
        "wrong_bytes": stored["wrong_bytes"] + found["wrong_bytes"],
        "failed": stored["failed"] + found["failed"],
        "hit_share": found["hits"] / objects,
        "invalid_entries": found["invalid"],
    }


def kill(squid: Any, conf: Path, ground: Ground, rules: Sequence[str], objects: int, moments: int) -> dict[str, float]:
    """SIGKILL at random moments of a store load; each time a plain squid reads everything back."""
    source = random.Random(SEED)
    sums = {"moments": 0.0, "wrong_bytes": 0.0, "failed_after": 0.0, "invalid_entries": 0.0}
    least = 1.0
    for _ in range(moments):
        servers.reset(ground)
        with servers.improved(squid.command(conf), squid.bench.who, squid.port, rules) as child:
            load = subprocess.Popen(
                squid.asks("reload", 8, 100 * objects, objects), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                time.sleep(source.uniform(0.05, 0.8))
                child.send_signal(signal.SIGKILL)
                child.wait()
            finally:
                load.kill()
                load.wait()
        # Its helper (unlinkd) ends when its pipe closes.
        time.sleep(0.1)
        (squid.bench.folder / "squid.pid").unlink(missing_ok=True)
        found = read_back(squid, conf, objects)
        sums["moments"] += 1
        sums["wrong_bytes"] += found["wrong_bytes"]
        sums["failed_after"] += found["failed"]
        sums["invalid_entries"] += found["invalid"]
        least = min(least, found["hits"] / objects)
    return sums | {"least_hit_share": least}


def cpu_us(pid: int, words: Sequence[str]) -> tuple[float, dict[str, float]]:
    """CPU of a process tree for each request of a load."""
    before = tree_cpu_ns(pid)
    said = answer(words)
    return (tree_cpu_ns(pid) - before) / 1000 / max(1.0, said["requests"]), said


def tree_cpu_ns(pid: int) -> int:
    """CPU so far of a process and what it has started."""
    total, todo = 0, [pid]
    while todo:
        one = todo.pop()
        todo += drive.children(one)
        for entry in Path(f"/proc/{one}/task").iterdir():
            total += int((entry / "schedstat").read_text().split()[0])
    return total


def under_load(squid: Any, conf: Path, rules: Sequence[str], requests: int, objects: int) -> dict[str, float]:
    """Attach to a running squid while it serves, and detach again: no request may fail."""
    words = squid.asks("get", 8, requests, objects)
    failed = wrong = 0.0
    cost: dict[str, float] = {}
    still: dict[str, float] = {}
    null = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    who: User = squid.bench.who
    with subprocess.Popen(squid.command(conf), start_new_session=True, **null, **who.identity()) as child:  # type: ignore[call-overload]
        try:
            servers.wait_for(squid.port, child)
            answer(words)
            for state, change in (("plain", None), ("attached", attach), ("detached", detach)):
                if change:
                    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as load:
                        time.sleep(0.2)
                        done = change(child.pid, rules) if change is attach else change(child.pid)  # type: ignore[call-arg]
                        said = json.loads(load.communicate()[0])
                    still[f"{state}_still_ms"] = done["still_ms"]
                    failed, wrong = failed + said["failed"], wrong + said["wrong_bytes"]
                cost[state], said = cpu_us(child.pid, words)
                failed, wrong = failed + said["failed"], wrong + said["wrong_bytes"]
        finally:
            child.terminate()
            child.wait(20)
    ratios = {"cpu_ratio": cost["attached"] / cost["plain"], "detached_cpu_ratio": cost["detached"] / cost["plain"]}
    return {"failed": failed, "wrong_bytes": wrong, **ratios, **still}

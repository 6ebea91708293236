"""Redis: Debian's package, unmodified, under redis-benchmark. `python -m bench redis`.

    memory    SET of 64 bytes, nothing on disk
    everysec  the same with an append-only file that is synced once a second
    always    the same, synced before each answer: read it beside `flush_ms`, the disk's latency

Each with 1 and 8 connections; after each run every key must be there with its value.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import servers
from bench.programs.postgresql import flush_ms
from bench.servers import Bench, Ground, Load, Options

HERE = Path(__file__).resolve().parent
LOADS = ("memory", "everysec", "always")
IMAGE_BYTES = 200 << 20
REQUESTS = {"memory": 60000, "everysec": 40000, "always": 6000}
RULES = {
    "memory": ("gather_sends", "epoll_shadow"),
    "everysec": ("coalesce_writes", "epoll_shadow"),
    "always": ("sync_window",),
}


def load(bench: Bench, name: str, clients: int, ground: Ground) -> Load:
    """One load with so many connections, on a fresh folder."""
    port = servers.free_port()
    disk = ("--appendonly", "yes", "--appendfsync", name) if name != "memory" else ("--appendonly", "no")
    command = ("/usr/bin/redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no")
    requests = max(clients, round(REQUESTS[name] * bench.asked.scale))
    drive, check = (
        (sys.executable, "-I", "-S", str(HERE / "load.py"), what, str(port), str(clients), str(requests))
        for what in ("set", "check")
    )
    return Load(
        name=f"{name}_{clients}c",
        command=(*command, *disk, "--dir", str(ground.folder / "data")),
        ready=f"tcp:{port}",
        drive=drive,
        check=(shlex.join(check),),
        rules=RULES[name],
        fresh=ground.fresh(),
    )


def measure(asked: Options | None = None) -> dict[str, Any]:
    """Figures `LOAD_Nc.{cpu_ratio,throughput_ratio,...}` (after/before) and `flush_ms`, before and after the loads."""
    asked = asked or Options(LOADS)
    servers.installed("redis-server", "redis-benchmark", packages="redis-server redis-tools")
    who = servers.user("redis")

    def fill(top: Path) -> None:
        (top / "data").mkdir()
        os.chown(top / "data", who.uid, who.gid)

    with servers.bench(who, asked) as bench:
        disk = Path(tempfile.gettempdir())
        with servers.ground(IMAGE_BYTES, fill, who, bench.folder, disk) as on:
            bench.conditions |= {"disk": on.said(), "user": who.name, "pairs": asked.pairs}
            bench.figures["flush_ms"] = flush_ms(on.folder)
            for name in asked.loads:
                for clients in asked.clients:
                    bench.load(load(bench, name, clients, on))
            bench.figures["flush_ms_at_end"] = flush_ms(on.folder)
        return {"figures": bench.figures, "conditions": bench.conditions | servers.machine()}


def options(words: Sequence[str]) -> Options:
    """The bench's own options."""
    return servers.options(words, LOADS)

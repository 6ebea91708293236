"""What must hold of an improved PostgreSQL that dies: what it had acknowledged is there again, all is consistent."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import Any

from bench import drive, servers
from bench.images import _run
from bench.programs.postgresql import CONSISTENT
from bench.servers import Ground, NoBench

EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
NO_LOG_FLUSH = 2
INSERTS = 200_000  # more than any moment allows
SEED = 1


class Acknowledged:
    """A session that inserts one row a transaction and notes when each was acknowledged."""

    def __init__(self, postgres: Any) -> None:
        script = postgres.bench.folder / "acknowledged.sql"
        if not script.exists():
            script.write_text("INSERT INTO bench_insert(what) VALUES ('x') RETURNING id;\n" * INSERTS)
        words = postgres.client("psql", "-qAt", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-f", str(script))
        self._child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.rows: list[tuple[int, float]] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            if line.strip().isdigit():
                self.rows.append((int(line), time.monotonic()))

    def stop(self) -> None:
        self._child.kill()
        self._child.wait()
        self._thread.join()


def cut(ground: Ground) -> None:
    """The power fails: what has not reached the device is gone, the journal's last part with it."""
    fd = os.open(ground.folder, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
    finally:
        os.close(fd)


def tree(pid: int) -> list[int]:
    """A process and all below it, parents first."""
    todo, found = [pid], []
    while todo:
        found.append(todo.pop())
        todo += drive.children(found[-1])
    return found


def kill_tree(pid: int) -> None:
    """SIGKILL to a server and all its processes at once."""
    for one in tree(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def remount(ground: Ground) -> None:
    """Mount again, as after a restart: the journal is replayed."""
    assert ground.image is not None
    for _ in range(50):
        with contextlib.suppress(Exception):
            _run("umount", ground.image.point)
            break
        time.sleep(0.1)  # the last of the killed processes may still be going
    _run("mount", ground.image.device, ground.image.point)


def survivors(postgres: Any, ground: Ground) -> set[int]:
    """The rows that a plain server has after its recovery; raises NoBench when the cluster is not consistent."""
    command = postgres.command(ground.folder / "data")
    pid_file = ground.folder / "data" / "postmaster.pid"
    pid_file.unlink(missing_ok=True)
    who = postgres.bench.who
    with servers.running(command, who, postgres.port):
        postgres.wait()
        # Every page of every table and index, and each index against its table.
        who.run(postgres.client("pg_amcheck", "-d", "postgres", "--install-missing", "--heapallindexed"))
        if postgres.ask(CONSISTENT) != "t":
            raise NoBench("pgbench's sums do not agree after the recovery")
        return {int(line) for line in postgres.ask("SELECT id FROM bench_insert").splitlines()}


def nothing_yet(moments: int) -> dict[str, float]:
    """The figures before the first moment."""
    return {"moments": moments, "acknowledged": 0, "lost": 0, "oldest_lost_ms": 0.0}


def tally(found: dict[str, float], session: Acknowledged, at: float, there: set[int]) -> None:
    """Add what was acknowledged before the moment `at`, and how much of that is not there."""
    before = [(row, when) for row, when in session.rows if when < at]
    missing = [(at - when) * 1000 for row, when in before if row not in there]
    found["acknowledged"] += len(before)
    found["lost"] += len(missing)
    found["oldest_lost_ms"] = max([found["oldest_lost_ms"], *missing])


def die(
    postgres: Any, ground: Ground, rules: Sequence[str], moments: int, power: bool, **settings: str
) -> dict[str, float]:
    """Kill the server, or cut the power, at random moments; how much of what was acknowledged is lost, and how old."""
    if power and ground.image is None:
        raise NoBench(f"a power cut needs an image ({ground.why_not})")
    source = random.Random(SEED)
    found = nothing_yet(moments)
    for _ in range(moments):
        servers.reset(ground)
        command = postgres.command(ground.folder / "data", **settings)
        with servers.improved(command, postgres.bench.who, postgres.port, rules) as child:
            session = Acknowledged(postgres)
            try:
                time.sleep(source.uniform(0.5, 1.5))
                at = time.monotonic()
                if power:
                    cut(ground)
                kill_tree(child.pid)
                child.wait()
            finally:
                session.stop()
        if power:
            remount(ground)
        tally(found, session, at, survivors(postgres, ground))
    return found

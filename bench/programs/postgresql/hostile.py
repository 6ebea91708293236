"""The hostile power cut: the log is as it was at its last sync, while every write to a data file has reached the disk.

The log lies on a file system of its own. All processes are stopped; then the log's file system is cut off and mounted
again, while that of the data keeps what it was given. What a database needs then is that the log was synced before
any page that it speaks of was written: a page whose LSN lies beyond the log's end breaks that, and is counted.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import drive, servers
from bench.images import ext4
from bench.programs.postgresql.checks import (
    SEED,
    Acknowledged,
    cut,
    kill_tree,
    nothing_yet,
    remount,
    survivors,
    tally,
    tree,
)
from bench.servers import Ground, NoBench

LOG_BYTES = 400 << 20
PAGE = 8192
RELATION = re.compile(r"\d+(_vm)?(\.\d+)?")  # of a free space map the LSN says nothing
#: pages are written soon and often, by backends, the background writer and the checkpointer. No full pages in the log:
#: they would hide a page that is too new. None is torn, since no process is stopped within a write.
EAGER = {
    "bgwriter_delay": "10ms",
    "bgwriter_lru_maxpages": "1000",
    "bgwriter_lru_multiplier": "10",
    "full_page_writes": "off",
    "max_wal_size": "64MB",
    "min_wal_size": "32MB",
}
SIZES = ("1MB", "64MB")  # of shared_buffers, in turn: backends write pages all the time, or hardly ever
CHECKPOINTS = "CHECKPOINT; SELECT pg_sleep(0.2);\n" * 10_000


@contextmanager
def log_apart(postgres: Any, ground: Ground) -> Iterator[Ground]:
    """The cluster's log on an image of its own, for as long as the block runs."""
    inside, who = ground.folder / "data" / "pg_wal", postgres.bench.who

    def fill(top: Path) -> None:
        who.run(["cp", "-a", str(inside), str(top / "pg_wal")])

    with ext4(LOG_BYTES, fill, owner=who.uid, base=Path(tempfile.gettempdir())) as image:
        shutil.rmtree(inside)
        inside.symlink_to(Path(image.point) / "pg_wal")
        yield Ground(Path(image.point), image)


@contextmanager
def busy(postgres: Any) -> Iterator[Acknowledged]:
    """Sessions that dirty pages, and one whose rows are noted; ended at the end."""
    null = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    checkpoints = postgres.bench.folder / "checkpoints.sql"
    checkpoints.write_text(CHECKPOINTS)
    beside = [
        subprocess.Popen(postgres.client("pgbench", "-n", "-c", "3", "-j", "1", "-T", "600", "postgres"), **null),
        subprocess.Popen(postgres.client("psql", "-q", "-d", "postgres", "-f", str(checkpoints)), **null),
    ]
    session = Acknowledged(postgres)
    try:
        yield session
    finally:
        session.stop()
        for child in beside:
            child.kill()
            child.wait()


def stop(pids: Sequence[int]) -> None:
    """Stop processes, and wait until each has left the kernel."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        for _ in range(1000):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "TZ":
                    break
            time.sleep(0.002)


def keepers() -> list[int]:
    """Our children that look after improved programs: they too could sync the log."""
    mine = drive.children(os.getpid())
    return [pid for pid in mine if Path(f"/proc/{pid}/comm").read_text().startswith("peephole-keep")]


def lsn(text: str) -> int:
    """The number of a place in the log, as PostgreSQL writes it."""
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def log_end(postgres: Any, data: Path) -> int:
    """Where the log ends that a recovery would find."""
    who, programs = postgres.bench.who, postgres.programs
    said = who.run([str(programs / "pg_controldata"), str(data)]).stdout
    begin = re.search(r"REDO location:\s+(\S+)", said)
    assert begin, said
    words = [str(programs / "pg_waldump"), "-q", "-p", str(data / "pg_wal"), "-s", begin[1]]
    errors = subprocess.run(words, capture_output=True, text=True, **who.identity()).stderr
    places = re.findall(r"\b[0-9A-F]+/[0-9A-F]+\b", errors)
    if not places:
        raise NoBench(f"pg_waldump: {errors.strip()}")
    return max(lsn(place) for place in places)


def too_new(data: Path, end: int) -> int:
    """How many pages of relations are newer than the log."""
    found = 0
    for folder in (data / "global", *(data / "base").iterdir()):
        for path in folder.iterdir():
            if not RELATION.fullmatch(path.name):
                continue
            pages = path.read_bytes()
            for at in range(0, len(pages) - PAGE + 1, PAGE):
                high, low = pages[at : at + 4], pages[at + 4 : at + 8]
                found += (int.from_bytes(high, "little") << 32 | int.from_bytes(low, "little")) > end
    return found


def until_cut(
    postgres: Any, words: Sequence[str], log: Ground, rules: Sequence[str], after_s: float
) -> tuple[Acknowledged, float]:
    """Run a busy server for so long, and cut the power of its log; the session, and the moment of the cut."""
    with servers.improved(words, postgres.bench.who, postgres.port, rules) as child:
        with busy(postgres) as session:
            time.sleep(after_s)
            at = time.monotonic()
            looking = keepers()
            stop(looking)
            stop(tree(child.pid))
            cut(log)
            kill_tree(child.pid)
            child.wait()
        for pid in looking:
            os.kill(pid, signal.SIGCONT)
    remount(log)
    return session, at


def die(postgres: Any, ground: Ground, rules: Sequence[str], moments: int, **settings: str) -> dict[str, float]:
    """Cut the power of the log alone at random moments; figures as those of `checks.die`, and `pages_too_new`."""
    if ground.image is None:
        raise NoBench(f"a power cut needs an image ({ground.why_not})")
    source = random.Random(SEED)
    servers.reset(ground)
    data = ground.folder / "data"
    found = nothing_yet(moments) | {"pages_too_new": 0}
    with log_apart(postgres, ground) as log:
        for i in range(moments):
            words = postgres.command(data, **EAGER, shared_buffers=SIZES[i % 2], **settings)
            session, at = until_cut(postgres, words, log, rules, source.uniform(0.5, 1.5))
            found["pages_too_new"] += too_new(data, log_end(postgres, data))
            tally(found, session, at, survivors(postgres, ground))
    return found


def without_sync(postgres: Any, ground: Ground) -> int:
    """How many pages are too new after one such cut of a server that syncs nothing: the check can fail."""
    servers.reset(ground)
    data = ground.folder / "data"
    with log_apart(postgres, ground) as log:
        words = postgres.command(data, **EAGER, shared_buffers=SIZES[0], fsync="off")
        until_cut(postgres, words, log, [], 1.0)
        return too_new(data, log_end(postgres, data))

"""Independent files are read from the disk, one wait after the other.

Why it costs
    No CPU, but time: each wait for the disk could have run beside the others. Read ahead, a cold search took half its
    time; warm, the same reading ahead costs 40 % more, so it must switch itself off.

Rewritten by
    `prefetch_cold`: a process beside the program asks the disk for what the last run read, before the program does.

Gives up
    Nothing in results; memory and disk bandwidth of others.

How it is found
    Reads, opens and examinations of regular files that each waited 100 microseconds or more, for at least 16 files;
    500 where only the calls' length is known. A capture that knows neither shows none.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import described, instances
from peephole.diagnose.tables import Tables

SLUG = "cold_reads"
CALLS = ("read", "pread64", "open", "openat", "stat", "lstat", "newfstatat", "statx", "getdents64")
KIND = "crossing"
RULE = "prefetch_cold"
LAYER = ("program",)
ADVICE = "read ahead (posix_fadvise WILLNEED, io_uring), or with more threads (git: core.preloadIndex; grep: ripgrep)"
BEFORE: dict[str, str] = {}
AFTER: dict[str, str] = {}
WAITING = True

COLD_NS = 100_000
#: where only the length of a call is known: a stop by strace alone takes up to 100 microseconds
LONG_NS = 500_000
ENOUGH = 16


def _one(n: int, took: str) -> str:
    return (
        f'1700000{n:03}.100000 openat(AT_FDCWD, "src/{n}", O_RDONLY) = 3 <0.000010>\n'
        f'1700000{n:03}.200000 read(3, "x"..., 65536) = 5000 <{took}>\n'
        f"1700000{n:03}.300000 close(3) = 0 <0.000010>\n"
    )


def _same(n: int) -> str:
    return f'1700001{n:03}.200000 read(3, "x"..., 65536) = 65536 <0.002000>\n'


FIRES = {"a search": "".join(_one(n, "0.002000") for n in range(20))}
SILENT = {
    "warm": "".join(_one(n, "0.000010") for n in range(20)),
    "one file": _one(1, "0.002000") + 'openat(AT_FDCWD, "a", O_RDONLY) = 3\n' + "".join(_same(n) for n in range(40)),
    "a pipe": "pipe2([3<pipe:[7]>, 4<pipe:[7]>], 0) = 0\n" + "".join(_same(n) for n in range(40)),
}


def find(t: Tables) -> Any:
    """One row a call that waited."""
    import ibis
    from ibis import _

    waited = ibis.coalesce(_.blocked_ns, ibis.ifelse(_.took_ns >= LONG_NS, _.took_ns, 0))
    # A cheap look first: what took less did not wait so long.
    cold = t.calls.filter((_.took_ns >= COLD_NS) | _.took_ns.isnull()).filter(_.name.isin(CALLS), _.ret >= 0)
    cold = cold.mutate(waited=waited).filter(_.waited >= COLD_NS)
    cold = cold.filter(_.regular | (_.path.notnull() & ~_.name.isin(("read", "pread64"))))
    cold = described(t, cold)
    many = cold.group_by("image").aggregate(files=_.object.nunique()).filter(_.files >= ENOUGH)
    cold = cold.semi_join(many, "image")
    return instances(cold, _.object, blocked_ns=_.waited)

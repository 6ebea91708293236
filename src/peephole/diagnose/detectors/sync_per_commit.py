"""Every few small writes are made durable: a sync per commit.

Why it costs
    Each fdatasync waits for the disk, 0.2 to 3 ms. At most one per 10 ms made a database's inserts 2 to 17 times
    faster, on a third of the CPU.

Rewritten by
    `sync_window`: at most one sync of a file in a window; it is always made before any other file is written.

Gives up
    durability of what was committed within the window. The program's own switch is the more honest one, where it has
    one.

How it is found
    16 or more syncs of one file by one process, each with writes since the one before.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import described, instances
from peephole.diagnose.tables import SYNCS, WRITES, Tables, ordered

SLUG = "sync_per_commit"
CALLS = SYNCS
KIND = "guarantee"
RULE = "sync_window"
LAYER = ("program",)
ADVICE = (
    "try the program's own knob first: PostgreSQL synchronous_commit=off, SQLite PRAGMA synchronous=NORMAL with WAL, "
    "MySQL innodb_flush_log_at_trx_commit=2, Redis appendfsync everysec"
)
BEFORE = {"fsync": "calls"}
AFTER = {"sync_window:fsync": "calls"}

ENOUGH = 16

_OPEN = 'openat(AT_FDCWD, "wal", O_RDWR|O_CREAT, 0600) = 3\n'
FIRES = {
    "a log of commits": _OPEN + 'write(3, "commit"..., 300) = 300\nfdatasync(3) = 0\n' * 20,
    "by position": _OPEN + 'pwrite64(3, "commit"..., 8192, 0) = 8192\nfdatasync(3) = 0\n' * 20,
}
SILENT = {
    "few": _OPEN + 'write(3, "commit"..., 300) = 300\nfdatasync(3) = 0\n' * 5,
    "nothing written between": _OPEN + "fdatasync(3) = 0\n" * 20,
    "a pipe": "pipe2([3<pipe:[1]>, 4<pipe:[1]>], 0) = 0\n"
    + 'write(4, "c", 1) = 1\nfsync(4) = -1 EINVAL (Invalid argument)\n' * 20,
}


def find(t: Tables) -> Any:
    """One row a file that one process syncs again and again."""
    from ibis import _

    used = t.calls.filter(_.name.isin((*SYNCS, *WRITES)), _.ret >= 0).semi_join(t.syncs.select("ofd").distinct(), "ofd")
    used = used.filter(_.regular, _.file.notnull())
    sync = _.name.isin(SYNCS)
    here = ordered("image", "file")
    used = used.mutate(commit=sync & (~sync.lag().over(here)).fill_null(False))
    files = (
        used.filter(_.commit)
        .group_by("image", "file")
        .aggregate(
            n=_.count(),
            begin_ns=_.ns.min(),
            end_ns=_.ns.max(),
            dev=_.dev.max(),
            ofd=_.ofd.min(),
            path=_.path.min(),
            blocked_ns=_.blocked_ns.sum(),
            claims=_.seq.collect(),
        )
    )
    files = described(t, files.filter(_.n >= ENOUGH))
    return instances(files, _.object, calls=_.n, begin_ns=_.begin_ns, end_ns=_.end_ns, claims=_.claims)

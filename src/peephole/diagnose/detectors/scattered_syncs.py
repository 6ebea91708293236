"""Several files are made durable one after the other.

Why it costs
    Each fsync waits for a commit of its own. Files that are written together can be made durable by one: eight
    fsyncs as one syncfs took a third of the time.

Rewritten by
    `group_sync`: the syncs of a group become one at its end.

Gives up
    durability of the first files until the group ends, and the order between them.

How it is found
    Syncs of different files by one process, each within 10 ms of the one before (directly behind it in the process's
    list of syncs where the capture has no times).
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import described, instances
from peephole.diagnose.tables import SYNCS, Tables, ordered

SLUG = "scattered_syncs"
CALLS = SYNCS
KIND = "guarantee"
RULE = "group_sync"
LAYER = ("program",)
ADVICE = "write all files first, then call syncfs once, or sync only at the end of the whole operation"
BEFORE = {"fsync": "calls"}
AFTER = {"answered": "calls"}

CLOSE_NS = 10_000_000

_FILE = """
        openat(AT_FDCWD, "out/{0}", O_WRONLY|O_CREAT|O_EXCL, 0600) = 3
        write(3, "x"..., 4096) = 4096
        fsync(3) = 0
        close(3) = 0
"""
FIRES = {"unpacking": "".join(_FILE.format(name) for name in "abc")}
SILENT = {
    "one file": _FILE.format("a"),
    "the same file": _FILE.format("a") + _FILE.format("a"),
    "no sync": _FILE.format("a").replace("fsync(3)", "getpid()"),
}


def find(t: Tables) -> Any:
    """One row a sync that could have waited for the one before it."""
    from ibis import _

    syncs = t.syncs.filter(_.file.notnull())
    here = ordered("image")
    near = ((_.ns - _.ns.lag().over(here)) < CLOSE_NS).fill_null(True)
    joined = (_.file != _.file.lag().over(here)).fill_null(False) & near
    syncs = described(t, syncs.mutate(joined=joined, since_ns=_.ns.lag().over(here)).filter(_.joined))
    return instances(syncs, _.object, begin_ns=_.since_ns, end_ns=_.ns)

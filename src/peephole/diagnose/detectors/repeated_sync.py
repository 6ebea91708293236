"""A file is made durable again, and nothing was written to it since.

Why it costs
    fsync of a clean file still asks the file system, which may wait for a commit or flush the disk's cache.

Rewritten by
    `skip_sync` removes it with the needed ones. In the program it is the needless one that should go.

Gives up
    Nothing, if only the needless one goes. `skip_sync` gives up durability.

How it is found
    Two syncs of one file, with no write, cut, allocation or shared mapping of it by any captured process between.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import described, instances
from peephole.diagnose.tables import SYNCS, WRITES, Tables, ordered

SLUG = "repeated_sync"
CALLS = SYNCS
KIND = "dead"
RULE = "skip_sync"
LAYER = ("program",)
ADVICE = "remember whether anything was written since the last sync"
BEFORE = {"fsync": "calls"}
AFTER = {"skip_sync:fsync": "calls"}

#: what makes a file dirty, beside writes; a copy in the kernel names its target in an argument, so it counts for all
_DIRTY = ("ftruncate", "truncate", "fallocate", "fchmod", "fchown", "splice", "copy_file_range", "ioctl", "vmsplice")
MAP_SHARED, PROT_WRITE = 1, 2

_OPEN = 'openat(AT_FDCWD, "log", O_RDWR|O_CREAT, 0600) = 3\n'
FIRES = {"twice": _OPEN + 'write(3, "a", 1) = 1\n' + "fsync(3) = 0\n" * 2}
SILENT = {
    "written between": _OPEN + 'write(3, "a", 1) = 1\nfsync(3) = 0\n' * 2,
    "mapped": _OPEN
    + "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3, 0) = 0x7f0000000000\n"
    + "fsync(3) = 0\n" * 2,
    "data first, then all of it": _OPEN + "fdatasync(3) = 0\nfsync(3) = 0\n",
}


def find(t: Tables) -> Any:
    """One row a sync that had nothing to do."""
    from ibis import _

    mapped = t.calls.filter(_.name == "mmap", (_.a2 & PROT_WRITE) != 0, (_.a3 & MAP_SHARED) != 0, _.file.notnull())
    used = t.calls.filter(_.name.isin((*SYNCS, *WRITES, *_DIRTY)), _.file.notnull())
    used = used.semi_join(t.syncs.select("file").distinct(), "file")
    copying = t.calls.filter(_.name.isin(("copy_file_range", "splice"))).select("image").distinct()
    used = used.anti_join(mapped.select("file").distinct(), "file").anti_join(copying, "image")
    after = ordered("file")
    sync = _.name.isin(SYNCS) & (_.ret == 0) & _.regular
    stronger = (_.name == "fsync") & (_.name.lag().over(after) == "fdatasync")
    again = used.mutate(
        again=sync & sync.lag().over(after).fill_null(False) & ~stronger.fill_null(False),
        since_ns=_.ns.lag().over(after),
    )
    again = described(t, again.filter(_.again))
    return instances(again, _.object, begin_ns=_.since_ns, end_ns=_.ns, handled=_.own)

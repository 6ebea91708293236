"""A file that nobody will miss is made durable.

Why it costs
    fsync waits for the disk: hundreds of times what the write itself costs. A file that is removed again, or that
    lies in a folder for temporary files, is not worth that.

Rewritten by
    `skip_sync`: the sync is answered without the disk, errors of a wrong descriptor kept.

Gives up
    durability of these files.

How it is found
    An fsync, fdatasync or msync that succeeds on a file that is unlinked later in the capture (certain), that has no
    name (O_TMPFILE), or that lies below /tmp, /var/tmp, /dev/shm or /run (likely).
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import SYNCS, Tables

SLUG = "scratch_sync"
CALLS = SYNCS
KIND = "guarantee"
RULE = "skip_sync"
LAYER = ("program",)
ADVICE = "do not sync scratch files; databases have a switch for it (fsync=off, PRAGMA synchronous=OFF)"
BEFORE = {"fsync": "calls"}
AFTER = {"skip_sync:fsync": "calls"}

O_TMPFILE = 0o20000000
_SCRATCH = ("/tmp/", "/var/tmp/", "/dev/shm/", "/run/")

FIRES = {
    "removed afterwards": """
        openat(AT_FDCWD, "/data/sort.1", O_RDWR|O_CREAT|O_EXCL, 0600) = 3
        write(3, "row"..., 8192) = 8192
        fsync(3) = 0
        close(3) = 0
        unlink("/data/sort.1") = 0
    """,
    "in /tmp": """
        openat(AT_FDCWD, "/tmp/x", O_RDWR|O_CREAT|O_EXCL, 0600) = 3
        fdatasync(3) = 0
    """,
}
SILENT = {
    "kept": """
        openat(AT_FDCWD, "/data/kept", O_RDWR|O_CREAT|O_EXCL, 0600) = 3
        fsync(3) = 0
    """,
    "another one is removed": """
        openat(AT_FDCWD, "/data/kept", O_RDWR|O_CREAT|O_EXCL, 0600) = 3
        fsync(3) = 0
        unlink("/data/other") = 0
    """,
    "an error": """
        openat(AT_FDCWD, "/tmp/x", O_RDWR|O_CREAT|O_EXCL, 0600) = 3
        fsync(3) = -1 EIO (Input/output error)
    """,
}


def find(t: Tables) -> Any:
    """One row a sync."""
    import ibis
    from ibis import _

    syncs = t.syncs.drop("file", "name").join(t.opens.select("ofd", "path", "flags", opener="image"), "ofd")
    gone = t.calls.filter(_.name.isin(("unlink", "unlinkat")), _.ret == 0).group_by("path").aggregate(gone=_.seq.max())
    syncs = syncs.left_join(gone, "path").drop("path_right")
    removed = (_.gone > _.seq).fill_null(False)
    scratch = ibis.or_(*[_.path.startswith(folder) for folder in _SCRATCH]) | ((_.flags & O_TMPFILE) == O_TMPFILE)
    syncs = syncs.mutate(certainty=ibis.cases((removed, 2), (scratch.fill_null(False), 1), else_=-1))
    return instances(syncs.filter(_.certainty > 0), _.path, certainty=_.certainty, handled=_.opener == _.image)

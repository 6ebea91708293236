"""A temporary file is made durable before it is renamed over the old one.

Why it costs
    fsync waits for the disk: hundreds of times what the write itself costs. Its purpose is that after a power cut
    either the old or the new file is there; a program that can make the file again does not need that.

Rewritten by
    `skip_sync`: the sync is answered without the disk, errors of a wrong descriptor kept.

Gives up
    durability, and the order of writes and rename after a power cut.

How it is found
    An fsync or fdatasync that succeeds on a regular file, whose name the same process renames afterwards.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import SYNCS, Tables, ordered

SLUG = "fsync_before_rename"
CALLS = SYNCS
KIND = "guarantee"
RULE = "skip_sync"
LAYER = ("program",)
ADVICE = "sync only what can't be made again, or once for a whole batch of files"
BEFORE = {"fsync": "calls"}
AFTER = {"skip_sync:fsync": "calls"}

FIRES = {
    "an editor's save": """
        openat(AT_FDCWD, "notes.tmp", O_WRONLY|O_CREAT|O_EXCL, 0600) = 3
        write(3, "text"..., 20000) = 20000
        fsync(3) = 0
        close(3) = 0
        rename("notes.tmp", "notes") = 0
    """,
}
SILENT = {
    "not renamed": """
        openat(AT_FDCWD, "notes", O_WRONLY|O_CREAT, 0600) = 3
        write(3, "text"..., 20000) = 20000
        fsync(3) = 0
        close(3) = 0
    """,
    "renamed without a sync": """
        openat(AT_FDCWD, "notes.tmp", O_WRONLY|O_CREAT|O_EXCL, 0600) = 3
        write(3, "text"..., 20000) = 20000
        close(3) = 0
        rename("notes.tmp", "notes") = 0
    """,
    "renamed before": """
        rename("notes.tmp", "notes") = 0
        openat(AT_FDCWD, "notes", O_WRONLY) = 3
        fsync(3) = 0
    """,
}


def find(t: Tables) -> Any:
    """One row a sync."""
    import ibis
    from ibis import _

    syncs = t.syncs.drop("file", "name").join(t.opens.select("ofd", "path", opener="image"), "ofd")
    moved = t.calls.filter(_.name.isin(("rename", "renameat", "renameat2")), _.ret == 0, _.path2.notnull())
    moved = moved.select(
        "image",
        "seq",
        "ns",
        "path",
        dev=ibis.null("int64"),
        blocked_ns=ibis.null("int64"),
        to=_.path2,
        own=ibis.literal(False),
    )
    syncs = syncs.select(
        "image", "seq", "ns", "path", "dev", "blocked_ns", to=ibis.null("string"), own=_.opener == _.image
    )
    here = ordered("image", "path")
    both = syncs.union(moved).mutate(then=_.to.lead().over(here), end_ns=_.ns.lead().over(here))
    return instances(both.filter(_.to.isnull(), _.then.notnull()), _.then, end_ns=_.end_ns, handled=_.own)

"""A file is removed, and one of the same name is made and filled.

Why it costs
    The unlink frees an inode and its blocks through the journal; the create takes them again.

Rewritten by
    `reuse_inode`: the removed file is kept under a hidden state until its name is made again, and is overwritten.

Gives up
    Disk space is given back later.

How it is found
    An unlink that succeeds, and later an open with O_CREAT of the same name, by any captured process.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import O_CREAT, Tables, ordered

SLUG = "unlink_then_create"
CALLS = ("unlink", "unlinkat")
KIND = "guarantee"
RULE = "reuse_inode"
LAYER = ("program", "file system")
ADVICE = "overwrite the file in place and cut it with ftruncate, instead of removing and making it"
BEFORE = {"unlink_create": "calls"}
AFTER = {"overwrite_in_place": "calls"}

_MAKE = """
        openat(AT_FDCWD, "cache/00", O_WRONLY|O_CREAT|O_TRUNC, 0600) = 3
        write(3, "x"..., 4096) = 4096
        close(3) = 0
"""
FIRES = {"a cache's slot": _MAKE + 'unlink("cache/00") = 0' + _MAKE}
SILENT = {
    "removed for good": _MAKE + 'unlink("cache/00") = 0',
    "another name": 'unlink("cache/01") = 0' + _MAKE,
    "overwritten": _MAKE * 2,
    "a lock": """
        openat(AT_FDCWD, "lock", O_WRONLY|O_CREAT|O_EXCL, 0600) = 3
        close(3) = 0
        unlink("lock") = 0
        openat(AT_FDCWD, "lock", O_WRONLY|O_CREAT|O_EXCL, 0600) = 3
        close(3) = 0
    """,
}


def find(t: Tables) -> Any:
    """One row a name that is made again."""
    import ibis
    from ibis import _

    gone = t.calls.filter(_.name.isin(CALLS), _.ret == 0, _.path.notnull())
    gone = gone.select("image", "seq", "ns", "path", dev=ibis.null("int64"), gone=ibis.literal(True))
    filled = t.opens.join(t.spans.filter((_.written > 0) | (_.copied_in > 0)).select("ofd"), "ofd")
    made = filled.filter((_.flags & O_CREAT) != 0, _.path.notnull())
    made = made.select("image", "seq", "ns", "path", "dev", gone=ibis.literal(False))
    after = ordered("path")
    again = gone.union(made).mutate(was_gone=_.gone.lag().over(after), since_ns=_.ns.lag().over(after))
    again = again.filter(~_.gone, _.was_gone.fill_null(False))
    return instances(again, _.path, begin_ns=_.since_ns, end_ns=_.ns)

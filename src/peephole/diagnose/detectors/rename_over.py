"""A file is saved by renaming a new one over the old.

Why it costs
    The rename frees the old inode and its blocks, and on ext4 (auto_da_alloc) writes the new file's blocks out at
    once. Exchanging the two names and then unlinking the old file does neither: 633 against 77 microseconds for 20 KB.

Rewritten by
    `exchange_rename`: renameat2(RENAME_EXCHANGE), then unlink of the temporary name.

Gives up
    For a moment the old content can be seen under the temporary name; on ext4 the new content is written out later.

How it is found
    A rename that succeeds and whose target was there before: renamed to, opened or examined earlier in the capture.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import Tables, ordered

SLUG = "rename_over"
CALLS = ("rename", "renameat", "renameat2")
KIND = "guarantee"
RULE = "exchange_rename"
LAYER = ("program", "file system")
ADVICE = "overwrite in place where a half-written file does no harm, or save less often"
BEFORE = {"rename_over": "first", "rename_again": "again"}
AFTER = {f"exchange_rename:{price}": count for price, count in BEFORE.items()}

_SAVE = """
        openat(AT_FDCWD, "prefs.tmp", O_WRONLY|O_CREAT|O_TRUNC, 0600) = 3
        write(3, "x"..., 20000) = 20000
        close(3) = 0
        rename("prefs.tmp", "prefs") = 0
"""
FIRES = {
    "again and again": _SAVE * 2,
    "examined before": 'stat("prefs", {st_mode=S_IFREG|0600, st_size=9, ...}) = 0' + _SAVE,
}
SILENT = {
    "nothing there": _SAVE,
    "known not to be there": 'stat("prefs", 0x7ffd) = -1 ENOENT (No such file or directory)' + _SAVE,
    "removed before": _SAVE + 'unlink("prefs") = 0' + _SAVE,
    "exchanged already": 'renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE) = 0\n' * 2,
}

RENAME_EXCHANGE = 2


def find(t: Tables) -> Any:
    """One row a rename."""
    import ibis
    from ibis import _

    renames = t.calls.filter(_.name.isin(CALLS), _.ret == 0, _.path2.notnull())
    renames = renames.filter((_.name != "renameat2") | ((_.a4 & RENAME_EXCHANGE) == 0))
    nothing = ibis.null("int64")
    targets = renames.select(
        "image",
        "seq",
        "ns",
        path=_.path2,
        there=ibis.literal(True),
        moving=ibis.literal(True),
        dev=nothing,
    )
    sources = renames.select(
        "image", "seq", "ns", "path", there=ibis.literal(False), moving=ibis.literal(False), dev=nothing
    )
    looked = t.lookups.filter((_.ret == 0) | (_.ret == -2)).select(
        "image", "seq", "ns", "path", there=_.ret == 0, moving=ibis.literal(False), dev=nothing
    )
    opened = t.opens.select(
        "image", "seq", "ns", "path", there=ibis.literal(True), moving=ibis.literal(False), dev=_.dev
    )
    gone = t.calls.filter(_.name.isin(("unlink", "unlinkat")), _.ret == 0).select(
        "image", "seq", "ns", "path", there=ibis.literal(False), moving=ibis.literal(False), dev=nothing
    )
    seen = targets.union(sources).union(looked).union(opened).union(gone).filter(_.path.notnull())
    after = ordered("path")
    seen = seen.mutate(over=_.there.lag().over(after), since_ns=_.ns.lag().over(after), on=_.dev.lag().over(after))
    over = seen.filter(_.moving, _.over.fill_null(False)).drop("dev").rename(dev="on")
    # What was saved a moment ago is still on its way to the disk.
    over = over.mutate(again=(ibis.row_number().over(after) > 0).cast("int64"))
    return instances(over, _.path, begin_ns=_.since_ns, end_ns=_.ns, first=1 - _.again, again=_.again)

"""A file is opened so that every small write waits for the disk.

Why it costs
    With O_SYNC or O_DSYNC each write is a commit. Written plainly, with one fdatasync where a group of records ends,
    the same records cost a quarter (groups of four) or less.

Rewritten by
    No rule. Where a group ends is only known to the program.

Gives up
    A window of loss inside the group.

How it is found
    Writes of up to 16 KB through a description that was opened with O_SYNC or O_DSYNC.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import Tables

SLUG = "synchronous_writes"
CALLS = ("write", "writev", "pwrite64", "pwritev", "pwritev2")
KIND = "guarantee"
RULE = None
LAYER = ("program",)
ADVICE = "open without O_SYNC and O_DSYNC, and call fdatasync once where a group of records ends"
BEFORE = {"fsync": "calls"}
AFTER = {"write_call": "calls", "write_byte": "bytes"}

O_DSYNC = 0o10000
SMALL_BYTES = 16384

FIRES = {
    "a journal": """
        openat(AT_FDCWD, "journal", O_WRONLY|O_CREAT|O_DSYNC, 0600) = 3
        write(3, "record"..., 512) = 512
        write(3, "record"..., 512) = 512
    """,
    "O_SYNC": 'open("j", O_WRONLY|O_SYNC) = 3\npwrite64(3, "r", 1, 0) = 1',
}
SILENT = {
    "plain": """
        openat(AT_FDCWD, "journal", O_WRONLY|O_CREAT, 0600) = 3
        write(3, "record"..., 512) = 512
    """,
    "large": """
        openat(AT_FDCWD, "journal", O_WRONLY|O_CREAT|O_DSYNC, 0600) = 3
        write(3, "record"..., 1048576) = 1048576
    """,
}


def find(t: Tables) -> Any:
    """One row a write."""
    from ibis import _

    opened = t.opens.filter((_.flags & O_DSYNC) != 0).select("ofd", opened="path")
    writes = t.calls.filter(_.name.isin(CALLS), _.ret > 0, _.ret <= SMALL_BYTES, _.regular).join(opened, "ofd")
    return instances(writes, _.opened, bytes=_.ret)

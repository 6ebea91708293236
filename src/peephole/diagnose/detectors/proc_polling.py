"""A file of /proc or /sys is opened, read and closed again and again.

Why it costs
    Such a file is made anew by each read; opening and closing it around that doubles the cost. It can be kept open and
    read with pread at position 0.

Rewritten by
    No rule: the number of a process may be used again.

Gives up
    In the program: a kept descriptor belongs to the process that had the number first, which is usually better.

How it is found
    16 or more opens of the same path below /proc or /sys by one process.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import Tables

SLUG = "proc_polling"
CALLS = ("open", "openat")
KIND = "crossing"
RULE = None
LAYER = ("program", "library")
ADVICE = "keep the file open and read it with pread at position 0"
BEFORE = {"open_close": "calls"}
AFTER: dict[str, str] = {}

ENOUGH = 16

_READ = """
        openat(AT_FDCWD, "/proc/stat", O_RDONLY) = 3
        read(3, "cpu"..., 4096) = 1200
        close(3) = 0
"""
FIRES = {"a monitor": _READ * 20}
SILENT = {
    "few": _READ * 3,
    "kept open": 'openat(AT_FDCWD, "/proc/stat", O_RDONLY) = 3\n' + 'pread64(3, "cpu"..., 4096, 0) = 1200\n' * 20,
    "elsewhere": _READ.replace("/proc/stat", "/srv/stat") * 20,
}


def find(t: Tables) -> Any:
    """One row a path that one process opens again and again."""
    from ibis import _

    opened = t.opens.filter(_.path.startswith("/proc/") | _.path.startswith("/sys/"))
    files = opened.group_by("image", "path").aggregate(
        n=_.count(), begin_ns=_.ns.min(), end_ns=_.ns.max(), claims=_.seq.collect()
    )
    files = files.filter(_.n >= ENOUGH)
    return instances(files, _.path, calls=_.n - 1, begin_ns=_.begin_ns, end_ns=_.end_ns, claims=_.claims)

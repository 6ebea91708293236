"""A file is read once more after its end was reached.

Why it costs
    The read that returns 0 tells only what the short read before it, or the file's size, had told.

Rewritten by
    No rule: the file may have grown.

Gives up
    In the program: bytes that are added between the two calls are seen at the next opening.

How it is found
    A read of a regular file that returns 0 where the description's position is the file's size, or directly behind a
    short read.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import described, instances
from peephole.diagnose.tables import Tables

SLUG = "read_at_end"
CALLS = ("read",)
KIND = "dead"
RULE = None
LAYER = ("standard library",)
ADVICE = "stop at a short read of a regular file, or read as many bytes as fstat says"
BEFORE = {"lseek": "calls"}
AFTER: dict[str, str] = {}

_OPEN = 'openat(AT_FDCWD, "a", O_RDONLY) = 3\n'
FIRES = {"to the end": _OPEN + 'read(3, "text"..., 4096) = 100\nread(3, "", 4096) = 0\n'}
SILENT = {
    "an empty file": _OPEN + 'read(3, "", 4096) = 0\n',
    "a pipe": 'pipe2([3<pipe:[1]>, 4<pipe:[1]>], 0) = 0\nread(3, "text"..., 4096) = 100\nread(3, "", 4096) = 0\n',
    "followed as it grows": _OPEN + 'read(3, "text"..., 4096) = 100\nwrite(1, "text", 4) = 4\nread(3, "x", 4096) = 1\n',
}


def find(t: Tables) -> Any:
    """One row a read at the end."""
    from ibis import _

    short = ((_.got > 0) & (_.got < _.wanted)).fill_null(False)
    known = ((_.size == _["at"]) & (_.size > 0)).fill_null(False)
    reads = t.reads.filter(~_.positional, _.ret == 0, short | known)
    return instances(described(t, reads), _.object, begin_ns=_.since_ns.fill_null(_.ns), end_ns=_.ns)

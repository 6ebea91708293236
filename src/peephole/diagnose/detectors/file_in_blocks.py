"""A file is read in blocks, one behind the other.

Why it costs
    Each block enters the kernel, where its page is looked up; a small file could come in one call. What is gained is
    little where entering the kernel is cheap.

Rewritten by
    `read_whole`: up to 64 KB are read at once, and blocks and seeks are answered from them.

Gives up
    freshness: what others change after the first block is seen later, or not at all.

How it is found
    Two or more reads of 4096 to 16384 bytes, one behind the other, through one description of a regular file.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import described, instances
from peephole.diagnose.tables import Tables

SLUG = "file_in_blocks"
CALLS = ("read",)
KIND = "crossing"
RULE = "read_whole"
LAYER = ("standard library's buffer", "program")
ADVICE = "read a small file in one call"
BEFORE = {"read_4096": "calls"}
#: what is read ahead of each file, and its size
AFTER = {"read_whole:read_4096": "calls", "pread_16384": "files", "fstat": "files"}

LEAST_BYTES, MOST_BYTES = 4096, 16384
ENOUGH = 2

_OPEN = 'openat(AT_FDCWD, "object", O_RDONLY) = 3\n'
FIRES = {"blocks": _OPEN + 'read(3, "x"..., 4096) = 4096\n' * 4 + 'read(3, "x"..., 4096) = 100\n'}
SILENT = {
    "one": _OPEN + 'read(3, "x"..., 4096) = 4096\n',
    "small pieces": _OPEN + 'read(3, "x"..., 256) = 256\n' * 5,
    "large ones": _OPEN + 'read(3, "x"..., 65536) = 65536\n' * 5,
    "by position": _OPEN + "".join(f'pread64(3, "x"..., 4096, {4096 * n}) = 4096\n' for n in range(5)),
    "a pipe": "pipe2([3<pipe:[7]>, 4<pipe:[7]>], 0) = 0\n" + 'read(3, "x"..., 4096) = 4096\n' * 5,
}


def find(t: Tables) -> Any:
    """One row a description that is read in blocks."""
    from ibis import _

    reads = t.reads.filter(_.ret > 0, ~_.positional, _.asked >= LEAST_BYTES, _.asked <= MOST_BYTES)
    files = reads.group_by("image", "ofd").aggregate(
        n=_.count(),
        bytes=_.ret.sum(),
        begin_ns=_.ns.min(),
        end_ns=_.ns.max(),
        dev=_.dev.max(),
        claims=_.seq.collect(),
        files=_.ofd.nunique(),
    )
    files = described(t, files.filter(_.n >= ENOUGH))
    return instances(
        files,
        _.object,
        calls=_.n,
        bytes=_.bytes,
        begin_ns=_.begin_ns,
        end_ns=_.end_ns,
        handled=_.own,
        claims=_.claims,
        files=_.files,
    )

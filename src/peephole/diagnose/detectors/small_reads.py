"""A file is read in small pieces.

Why it costs
    Each read enters the kernel for a few bytes; a window of 64 KB costs one entry for hundreds of them: up to 18 times
    less in the kernel.

Rewritten by
    `read_window`: pieces are answered from a window that is read ahead.

Gives up
    freshness: what others change in the window is seen later.

How it is found
    16 or more reads that ask for less than 4096 bytes through one description of a regular file: one behind the
    other, or by position and within 64 KB of the one before.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import described, instances
from peephole.diagnose.tables import Tables

SLUG = "small_reads"
CALLS = ("read", "pread64")
KIND = "crossing"
RULE = "read_window"
LAYER = ("standard library's buffer", "library")
ADVICE = "read larger pieces: give the library a larger buffer (setvbuf, BufferedReader(buffer_size=))"
BEFORE = {"read_call": "calls", "read_byte": "bytes"}
AFTER = {"read_window:read_call": "calls", "read_window:read_byte": "bytes", "pread_65536": "jumps"}

SMALL_BYTES = 4096
WINDOW_BYTES = 65536
ENOUGH = 16

_OPEN = 'openat(AT_FDCWD, "book.pdf", O_RDONLY) = 3\n'
FIRES = {
    "one behind the other": _OPEN + 'read(3, "x"..., 256) = 256\n' * 40,
    "by position": _OPEN + "".join(f'pread64(3, "x"..., 256, {256 * n}) = 256\n' for n in range(40)),
}
SILENT = {
    "few": _OPEN + 'read(3, "x"..., 256) = 256\n' * 5,
    "large": _OPEN + 'read(3, "x"..., 65536) = 65536\n' * 40,
    "far apart": _OPEN + "".join(f'pread64(3, "x"..., 256, {1000000 * n}) = 256\n' for n in range(40)),
    "a pipe": "pipe2([3<pipe:[7]>, 4<pipe:[7]>], 0) = 0\n" + 'read(3, "x", 1) = 1\n' * 40,
    "at the end": _OPEN + 'read(3, "", 100) = 0\n' * 40,
}


def find(t: Tables) -> Any:
    """One row a description that is read in small pieces."""
    from ibis import _

    # Where the text does not know the position, reads that are no positional ones follow one another.
    near = ((_["at"] - _.ended + _.got).abs() < WINDOW_BYTES).fill_null(~_.positional)
    # One behind the other they cost what was measured so; a jump out of the window costs another one.
    jumps = ((_["at"] / WINDOW_BYTES).floor() != (_.ended / WINDOW_BYTES).floor()) & (_["at"] != _.ended)
    reads = t.reads.filter(_.ret > 0, _.asked < SMALL_BYTES, near).mutate(jumps=jumps.fill_null(False))
    files = reads.group_by("image", "ofd").aggregate(
        n=_.count(),
        bytes=_.ret.sum(),
        begin_ns=_.ns.min(),
        end_ns=_.ns.max(),
        dev=_.dev.max(),
        jumps=_.jumps.sum(),
        claims=_.seq.collect(),
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
        jumps=_.jumps,
    )

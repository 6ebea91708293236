"""A large file is read from one end to the other, block by block, out of the page cache.

Why it costs
    Each block is an entry of the kernel. Copied from a shared mapping the same bytes took 9 to 23 % less CPU of the
    whole program (PostgreSQL's sequential scan).

Rewritten by
    `scan_mapping`: blocks are copied from a mapping of the file.

Gives up
    A file that is cut while it is scanned ends in SIGBUS, which the rule must catch.

How it is found
    256 or more reads of 4 to 32 KB through one description of a regular file, each beginning where the one before
    ended.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import described, instances
from peephole.diagnose.tables import Tables

SLUG = "file_scan"
CALLS = ("read", "pread64")
KIND = "copy"
RULE = "scan_mapping"
LEFT_ALONE = "it takes only reads by position (pread64)"
LAYER = ("program",)
ADVICE = "read larger blocks, or map the file"
BEFORE = {"scan_8192": "pieces"}
AFTER = {"scan_mapping:scan_8192": "pieces"}

ENOUGH = 256
PIECE_BYTES = 8192

_OPEN = 'openat(AT_FDCWD, "base/1/1259", O_RDWR) = 3\n'
FIRES = {
    "by position": _OPEN + "".join(f'pread64(3, "x"..., 8192, {8192 * n}) = 8192\n' for n in range(300)),
    "one behind the other": _OPEN + 'read(3, "x"..., 16384) = 16384\n' * 300,
}
SILENT = {
    "few": _OPEN + 'read(3, "x"..., 8192) = 8192\n' * 10,
    "here and there": _OPEN + "".join(f'pread64(3, "x"..., 8192, {819200 * (n % 7)}) = 8192\n' for n in range(300)),
    "large blocks": _OPEN + 'read(3, "x"..., 1048576) = 1048576\n' * 300,
}


def find(t: Tables) -> Any:
    """One row a description that is scanned."""
    import ibis
    from ibis import _

    reads = t.reads.filter(_["at"] == _.ended, _.ret > 0, _.asked >= 4096, _.asked <= 32768)
    files = reads.group_by("image", "ofd").aggregate(
        n=_.count(),
        bytes=_.ret.sum(),
        begin_ns=_.ns.min(),
        end_ns=_.ns.max(),
        dev=_.dev.max(),
        claims=_.seq.collect(),
        positional=_.positional.all(),
    )
    files = described(t, files.filter(_.n >= ENOUGH))
    return instances(
        files,
        _.object,
        calls=_.n,
        bytes=_.bytes,
        begin_ns=_.begin_ns,
        end_ns=_.end_ns,
        handled=_.positional,
        claims=_.claims,
        pieces=ibis.greatest((_.bytes / PIECE_BYTES).floor(), _.n),
    )

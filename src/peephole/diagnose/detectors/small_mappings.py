"""A small file is mapped, looked at and unmapped.

Why it costs
    Mapping, the faults of its pages and unmapping (with a flush of other CPUs' caches) cost many times a read of the
    same bytes: 86 against 7 microseconds for 128 KB in a virtual machine.

Rewritten by
    No rule: a mapping also shows what others write to the file.

Gives up
    In the program: SIGBUS is gone, too; a later change of the file is not seen.

How it is found
    A read-only mapping of at most 256 KB of a file which the same process unmaps again, at the same address.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import described, instances
from peephole.diagnose.tables import Tables, ordered

SLUG = "small_mappings"
CALLS = ("mmap",)
KIND = "copy"
RULE = None
LAYER = ("program", "library")
ADVICE = "read small files with pread (git: core.packedGitWindowSize; GNU grep and others decide by size)"
BEFORE = {"map_16384": "pieces"}
AFTER = {"pread_16384": "pieces"}

SMALL_BYTES = 262144
PIECE_BYTES = 16384

_MAP = """
        openat(AT_FDCWD, "a", O_RDONLY) = 3
        mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, 3, 0) = 0x7f0000001000
        close(3) = 0
        munmap(0x7f0000001000, 8192) = 0
"""
FIRES = {"look and forget": _MAP}
SILENT = {
    "kept": _MAP.replace("munmap(0x7f0000001000, 8192) = 0", ""),
    "large": _MAP.replace("8192", "8388608"),
    "written": _MAP.replace("PROT_READ", "PROT_READ|PROT_WRITE"),
    "memory": "mmap(NULL, 8192, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f00\nmunmap(0x7f00, 8192) = 0",
}

PROT_READ = 1


def find(t: Tables) -> Any:
    """One row a mapping."""
    import ibis
    from ibis import _

    mapped = t.calls.filter(_.name == "mmap", _.ofd.notnull(), _.regular, _.ret > 0, _.a2 == PROT_READ)
    mapped = mapped.filter(_.a1 <= SMALL_BYTES)
    mapped = mapped.select("image", "seq", "ns", "ofd", "dev", "path", "ftype", at=_.ret, size=_.a1)
    gone = t.calls.filter(_.name == "munmap", _.ret == 0).select(
        "image",
        "seq",
        "ns",
        ofd=ibis.null("int64"),
        dev=ibis.null("int64"),
        path=ibis.null("string"),
        ftype=ibis.null("int8"),
        at=_.a0,
        size=_.a1,
    )
    here = ordered("image", "at")
    both = mapped.union(gone).mutate(then=_.ofd.lead().over(here), end_ns=_.ns.lead().over(here))
    both = both.mutate(until=_.size.lead().over(here))
    forgotten = described(t, both.filter(_.ofd.notnull(), _.then.isnull(), _.until == _.size))
    pieces = ibis.greatest(_.size // PIECE_BYTES, 1)
    return instances(forgotten, _.object, bytes=_.size, begin_ns=_.ns, end_ns=_.end_ns, pieces=pieces)

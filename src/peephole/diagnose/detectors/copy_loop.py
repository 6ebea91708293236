"""A file is copied through a small buffer.

Why it costs
    Every piece enters the kernel twice and crosses into the program and back. copy_file_range does all of it inside:
    5.6 times less with 4 KB pieces. With 128 KB pieces it gained nothing, so those are not told.

Rewritten by
    No rule: what the program does with the bytes is not in the capture.

Gives up
    In the program: nothing.

How it is found
    A read of a regular file with a buffer of at most 32 KB, directly followed in its thread by a write of as many
    bytes to another regular file.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import described, instances
from peephole.diagnose.tables import Tables, numbers

SLUG = "copy_loop"
CALLS = ("read", "pread64")
KIND = "copy"
RULE = None
LAYER = ("program", "library")
ADVICE = "use copy_file_range, or pieces of 128 KB (dd bs=128K, shutil.copyfile)"
BEFORE = {"pread_4096": "calls", "write_4096": "calls"}
AFTER = {"copy_range_4096": "pieces"}

BUFFER_BYTES = 32768
PIECE_BYTES = 4096

_OPEN = 'openat(AT_FDCWD, "a", O_RDONLY) = 3\nopenat(AT_FDCWD, "b", O_WRONLY|O_CREAT, 0600) = 4\n'
_PIECE = 'read(3, "x"..., 4096) = 4096\nwrite(4, "x"..., 4096) = 4096\n'
FIRES = {"a loop": _OPEN + _PIECE * 3}
SILENT = {
    "large pieces": _OPEN + _PIECE.replace("4096", "131072") * 3,
    "changed on the way": _OPEN + 'read(3, "x"..., 4096) = 4096\nwrite(4, "x"..., 1234) = 1234\n' * 3,
    "to a pipe": 'pipe2([5<pipe:[7]>, 4<pipe:[7]>], 0) = 0\nopen("a", O_RDONLY) = 3\n' + _PIECE * 3,
}


def find(t: Tables) -> Any:
    """One row a piece: its read."""
    import ibis
    from ibis import _

    pairs = t.steps.filter(_.before.isin(numbers(*CALLS)), _.before_regular, _.ret > 0)
    pairs = pairs.filter(_.nr.isin(numbers("write", "pwrite64")), _.before_ret == _.ret, _.before_ofd != _.ofd)
    regular = t.opens.filter(_.regular).select(ofd=_.ofd.cast("int32"))
    pairs = pairs.semi_join(regular, "ofd").select(seq=_.before_seq)
    reads = t.reads.filter(_.asked <= BUFFER_BYTES).semi_join(pairs, "seq")
    pieces = ibis.greatest(_.ret // PIECE_BYTES, 1)
    return instances(described(t, reads), _.object, bytes=_.ret, pieces=pieces)

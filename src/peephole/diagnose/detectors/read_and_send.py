"""A file is read into memory only to be sent.

Why it costs
    The bytes cross into the program and back; sendfile hands the page cache to the socket. On loopback that gained
    7 %: it pays with a network card that takes pages as they are.

Rewritten by
    No rule: what the program does with the bytes is not in the capture.

Gives up
    In the program: nothing.

How it is found
    A read of a regular file directly followed in its thread by a send of as many bytes.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import described, instances
from peephole.diagnose.tables import SENDS, Tables, numbers

SLUG = "read_and_send"
CALLS = ("read", "pread64")
KIND = "copy"
RULE = None
LAYER = ("program",)
ADVICE = "use sendfile (nginx: sendfile on; Apache: EnableSendfile On; squid: a cache in memory)"
BEFORE = {"read_send_16384": "pieces"}
AFTER = {"sendfile_16384": "pieces"}

PIECE_BYTES = 16384

_OPEN = 'openat(AT_FDCWD, "a", O_RDONLY) = 3\nsocket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 4\n'
_PIECE = 'read(3, "x"..., 16384) = 16384\nsendto(4, "x"..., 16384, 0, NULL, 0) = 16384\n'
FIRES = {"a web server": _OPEN + _PIECE * 3}
SILENT = {
    "encrypted": _OPEN + 'read(3, "x"..., 16384) = 16384\nsendto(4, "y"..., 16406, 0, NULL, 0) = 16406\n',
    "to a file": _OPEN.replace("socket(AF_INET, SOCK_STREAM, IPPROTO_TCP)", 'open("b", O_WRONLY)')
    + _PIECE.replace('sendto(4, "x"..., 16384, 0, NULL, 0)', 'write(4, "x"..., 16384)'),
}


def find(t: Tables) -> Any:
    """One row a piece: its read."""
    import ibis
    from ibis import _

    pairs = t.steps.filter(_.before.isin(numbers(*CALLS)), _.before_regular, _.ret > 0)
    pairs = pairs.filter(_.nr.isin(numbers(*SENDS)), _.before_ret == _.ret, _.before_ofd != _.ofd)
    pairs = pairs.semi_join(t.send_runs.select("ofd").distinct(), "ofd").select(seq=_.before_seq)
    reads = t.reads.semi_join(pairs, "seq")
    return instances(described(t, reads), _.object, bytes=_.ret, pieces=ibis.greatest(_.ret // PIECE_BYTES, 1))

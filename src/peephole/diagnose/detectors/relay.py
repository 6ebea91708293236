"""Bytes are taken from one socket and put into another, as they are.

Why it costs
    Every byte crosses into the program and back. splice moves pages through a pipe inside the kernel, and a socket map
    relays without waking the program at all.

Rewritten by
    `splice_relay` for pieces of 16 KB and more; smaller ones it makes slower. `sockmap_relay` for all.

Gives up
    The program does not see the bytes; it must never look at them, which a capture can't show.

How it is found
    A receive from one socket directly followed in its thread by a send of as many bytes to another.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import RECEIVES, SENDS, Tables, numbers

SLUG = "relay"
CALLS = RECEIVES
KIND = "copy"
RULE = "splice_relay"
LAYER = ("program",)
ADVICE = "relay in the kernel: splice, or a socket map (HAProxy: option splice-auto); larger buffers otherwise"
BEFORE = {"relay_65536": "pieces"}
AFTER = {"splice_65536": "pieces"}

PIECE_BYTES = 65536
LARGE_BYTES = 16384

_HEAD = "socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3\nsocket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 4\n"
_PIECE = 'recvfrom(3, "x"..., 65536, 0, NULL, NULL) = 65536\nsendto(4, "x"..., 65536, 0, NULL, 0) = 65536\n'
FIRES = {
    "a tunnel": _HEAD + _PIECE * 3,
    "by read and write": _HEAD + 'read(3, "x"..., 65536) = 40000\nwrite(4, "x"..., 40000) = 40000\n',
}
SILENT = {
    "an answer": _HEAD + _PIECE.replace("sendto(4", "sendto(3") * 3,
    "changed": _HEAD + _PIECE.replace("65536, 0, NULL, 0) = 65536", "100, 0, NULL, 0) = 100") * 3,
    "small messages": _HEAD + _PIECE.replace("65536", "4096") * 3,
    "from a file": _HEAD.replace("socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3", 'open("a", O_RDONLY) = 3')
    + _PIECE.replace("recvfrom(3", "read(3").replace("65536, 0, NULL, NULL)", "65536)"),
}


def find(t: Tables) -> Any:
    """One row a piece."""
    import ibis
    from ibis import _

    pairs = t.steps.filter(_.before.isin(numbers(*RECEIVES)), ~_.before_regular, _.before_ofd.notnull())
    pairs = pairs.filter(_.nr.isin(numbers(*SENDS)), _.ret >= LARGE_BYTES, _.before_ret == _.ret)
    pairs = pairs.filter(_.before_ofd != _.ofd).semi_join(t.send_runs.select("ofd").distinct(), "ofd")
    pairs = pairs.select("image", "ret", seq=_.before_seq, ns=_.ns - _.gap_ns)
    return instances(pairs, "sockets", bytes=_.ret, pieces=ibis.greatest(_.ret // PIECE_BYTES, 1))

"""Many small pieces are sent through one socket, one behind the other.

Why it costs
    Each piece enters the kernel and goes through the network stack by itself.

Rewritten by
    `gather_sends`: pieces gather until the program waits, or the buffer is full.

Gives up
    The first byte leaves later, and an error of the connection is reported at a later call.

How it is found
    Three or more sends of less than 16 KB through one socket, between which the thread did not wait. The rule takes
    writes to connections that the process accepted. Where a wait between them had its events at once: paced_sends.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import SENDS, Tables

SLUG = "small_sends"
CALLS = SENDS
KIND = "crossing"
RULE = "gather_sends"
LEFT_ALONE = "it takes only writes to connections that the process has accepted"
LAYER = ("program",)
ADVICE = "gather the pieces in the program, or cork the socket (TCP_CORK) until the message is whole"
BEFORE = {"answer_4096": "calls"}
AFTER = {"gather_sends:answer_4096": "calls"}

SMALL_BYTES = 16384

_HEAD = "socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3\n"
_WAIT = "epoll_wait(4, [{events=EPOLLIN, data=0x1}], 64, -1) = 1\n"
_PIECE = 'write(3, "x"..., 4096) = 4096\n'
FIRES = {"an object in pages": _HEAD + (_WAIT + _PIECE * 4) * 3}
SILENT = {
    "two": _HEAD + (_WAIT + _PIECE * 2) * 3,
    "a wait between each": _HEAD + (_WAIT + _PIECE) * 9,
    "large": _HEAD + (_WAIT + _PIECE.replace("4096", "131072") * 4) * 3,
}


def find(t: Tables) -> Any:
    """One row a send."""
    from ibis import _

    pieces = t.send_runs.filter(_.run >= 3, ~_.paced, _.ret < SMALL_BYTES)
    return instances(pieces, "sockets", bytes=_.ret, handled=_.gathers)

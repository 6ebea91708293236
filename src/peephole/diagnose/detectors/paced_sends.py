"""An answer is sent piece by piece, and before each piece the event loop finds the socket writable.

Why it costs
    Each piece goes through the network stack by itself and wakes its reader, and for each the loop enters the kernel
    once more, only to hear that it may go on.

Rewritten by
    `gather_sends`: pieces gather until the program really waits. It needs `epoll_shadow`, which tells the loop that the
    socket is writable without asking the kernel.

Gives up
    The first byte leaves later, an error of the connection is reported at a later call, and the order of events may be
    another one.

How it is found
    Two or more sends of less than 16 KB through one socket, with waits between them that had their events at once
    (epoll_wait, poll or select, shorter than 50 microseconds) and none that did not, and nothing got from that socket.
    The rule takes writes to
    connections that the process accepted; epoll_shadow takes level-triggered interest, which a capture does not show.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import SENDS, Tables

SLUG = "paced_sends"
CALLS = SENDS
KIND = "crossing"
RULE = "gather_sends"
NEEDS = ("epoll_shadow",)
LEFT_ALONE = "it takes only writes to connections that the process has accepted"
LAYER = ("program's event loop",)
ADVICE = "send until the socket has no room (EAGAIN), and wait for EPOLLOUT only then"
BEFORE = {"paced_4096": "calls"}
AFTER = {"epoll_shadow+gather_sends:paced_4096": "calls"}

SMALL_BYTES = 16384

_HEAD = "socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3\n"
_PIECE = 'write(3, "x"..., 4096) = 4096'


def _answer(at: int, took: str) -> str:
    """Squid's: the head, the body, and before each the socket is found ready."""
    ready = f"epoll_wait(4, [{{events=EPOLLOUT, data=0x1}}], 64, -1) = 1 <{took}>"
    calls = ready, 'write(3, "HTTP/1.1 200"..., 310) = 310', ready, _PIECE
    return "".join(f"1700000{at:03}.{n} {call}\n" for n, call in enumerate(calls))


FIRES = {"ready at once between": _HEAD + _answer(1, "0.000012") + _answer(2, "0.000012")}
SILENT = {
    "a long wait between each": _HEAD + _answer(1, "0.010000") + _answer(2, "0.010000"),
    "a question between": _HEAD
    + (_answer(1, "0.000012").splitlines()[0] + '\nread(3, "x"..., 90) = 90\n' + _PIECE + "\n") * 9,
    "no wait between them": _HEAD + (_PIECE + "\n") * 9,
    "one each": _HEAD + _answer(1, "0.000012").splitlines()[1],
    "large": _HEAD + _answer(1, "0.000012").replace("310", "131072").replace("4096", "131072"),
}


def find(t: Tables) -> Any:
    """One row a send."""
    from ibis import _

    pieces = t.send_runs.filter(_.run >= 2, _.paced, _.ret < SMALL_BYTES)
    return instances(pieces, "sockets", bytes=_.ret, handled=_.gathers)

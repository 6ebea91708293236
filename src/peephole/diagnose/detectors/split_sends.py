"""A message is sent in two parts: its head, then its body.

Why it costs
    Two entries of the kernel and two packets where one would do: 1.5 times the cost of a message.

Rewritten by
    `gather_sends`: the first part waits for the second, at most until the program waits.

Gives up
    The first byte leaves later, and an error of the connection is reported at a later call.

How it is found
    Exactly two sends through one socket with no wait of the thread between them.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import SENDS, Tables

SLUG = "split_sends"
CALLS = SENDS
KIND = "crossing"
RULE = "gather_sends"
LEFT_ALONE = "it takes only writes to connections that the process has accepted"
LAYER = ("program",)
ADVICE = "send both with writev or sendmsg, or give the first MSG_MORE (nginx: tcp_nopush on)"
BEFORE = {"answer_512": "sends"}
AFTER = {"gather_sends:answer_512": "sends"}

_HEAD = "socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3\n"
_TWO = """
        epoll_wait(4, [{events=EPOLLIN, data=0x1}], 64, -1) = 1
        sendto(3, "HTTP/1.1 200"..., 200, 0, NULL, 0) = 200
        write(3, "body"..., 4000) = 4000
"""
FIRES = {"an answer": _HEAD + _TWO * 3}
SILENT = {
    "one": _HEAD + _TWO.replace("write(3", "write(1") * 3,
    "a wait between": _HEAD + _TWO.replace("write", "poll([{fd=3, events=POLLIN}], 1, -1) = 1\nwrite") * 3,
    "files": 'open("a", O_WRONLY) = 3\n' + 'write(3, "a", 1) = 1\n' * 2,
    "large": _HEAD + _TWO.replace("200)", "262144)").replace("= 200", "= 262144"),
}

#: a first part as large as this fills packets of its own
SMALL_BYTES = 16384


def find(t: Tables) -> Any:
    """One row a message: the send that could have been saved."""
    from ibis import _

    first = t.send_runs.filter(_.run == 2, _.first, ~_.paced, _.ret < SMALL_BYTES)
    return instances(first, "sockets", bytes=_.ret, handled=_.gathers, sends=2)

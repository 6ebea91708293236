"""A socket is read once more after it was found empty.

Why it costs
    A receive that got less than it asked for has emptied a stream; the next one only fails with EAGAIN.

Rewritten by
    `known_eagain`: after a short receive of a stream EAGAIN is answered, until the program has waited.

Gives up
    A byte that arrives in between is seen at the next wait, where the wait is level-triggered.

How it is found
    A receive that fails with EAGAIN directly behind a short one on the same description, with no wait between.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import RECEIVES, Tables, ordered

SLUG = "receive_until_again"
CALLS = ("read", "recvfrom")
KIND = "dead"
RULE = "known_eagain"
LAYER = ("library", "program")
ADVICE = "with level-triggered waiting stop at a short receive"
BEFORE = {"recv_eagain": "calls"}
AFTER = {"answered": "calls"}

EAGAIN = -11

_HEAD = "socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3\n"
_GET = 'recvfrom(3, "x"..., 4096, 0, NULL, NULL) = 100\n'
_AGAIN = "recvfrom(3, 0x7ffd, 4096, 0, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)\n"
FIRES = {"to the end": _HEAD + (_GET + _AGAIN) * 3}
SILENT = {
    "a full one": _HEAD + _GET.replace("100", "4096") + _AGAIN,
    "a wait between": _HEAD + _GET + "epoll_wait(4, [], 64, 0) = 0\n" + _AGAIN,
    "never empty": _HEAD + _GET * 3,
    "nothing at first": _HEAD + _AGAIN * 3,
}

_WAITS = ("epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "pselect6")


def find(t: Tables) -> Any:
    """One row a receive in vain."""
    from ibis import _

    got = t.calls.filter(_.name.isin(RECEIVES), ~_.regular, _.ofd.notnull())
    empty = got.filter(_.name.isin(CALLS), _.ret == EAGAIN).select("ofd").distinct()
    got = got.semi_join(empty, "ofd").select("image", "tid", "seq", "ns", "ofd", "name", "a2", "ret")
    asked = got.select("tid", "seq", image=_.image.cast("int32"))
    here = ordered("image", "ofd")
    got = got.mutate(
        short=((_.ret > 0) & (_.ret < _.a2) & _.name.isin(CALLS)).lag().over(here).fill_null(False),
        last=_.seq.lag().over(here),
        since_ns=_.ns.lag().over(here),
    )
    got = got.filter(_.short, _.ret == EAGAIN, _.name.isin(CALLS))
    # How often the thread had waited: by the time of this receive, and by that of the one before it.
    waited = t.waits_before(asked, t.waits).select("seq", "waits")
    got = got.join(waited, "seq").join(waited.select(last="seq", then="waits"), "last")
    # A receive counts as a wait of its own.
    got = got.filter(_.waits - _.then <= 1)
    return instances(got, "sockets", begin_ns=_.since_ns, end_ns=_.ns)

"""A socket is polled before every receive, though something is there.

Why it costs
    Where data has arrived already the poll tells nothing that the receive would not: a third of the pair's cost.

Rewritten by
    `recv_first`: the receive is tried first, without waiting; only when there is nothing is the poll made.

Gives up
    Other descriptors of the same poll wait a little longer, and a signal interrupts another call.

How it is found
    poll or select that returned one ready descriptor, directly followed in its thread by a receive that got something.
    It is certain that nothing was waited for when the poll took less than 20 microseconds, likely where times are not
    known; longer polls are left out.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import POLLS, RECEIVES, Tables, numbers

SLUG = "poll_before_receive"
CALLS = POLLS
KIND = "crossing"
RULE = "recv_first"
LAYER = ("library", "program")
ADVICE = "receive with MSG_DONTWAIT first, and poll only after EAGAIN"
BEFORE = {"poll": "calls"}
AFTER = {"answered": "calls"}

WAITED_NS = 20_000

_HEAD = "socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3\n"
_POLL = "poll([{fd=3, events=POLLIN}], 1, -1) = 1 ([{fd=3, revents=POLLIN}])\n"
_GET = 'recvfrom(3, "x"..., 4096, 0, NULL, NULL) = 4096\n'
FIRES = {"a client": _HEAD + (_POLL + _GET) * 3}
SILENT = {
    "timed out": _HEAD + "poll([{fd=3, events=POLLIN}], 1, 100) = 0 (Timeout)\n" + _GET,
    "nothing there": _HEAD
    + _POLL
    + "recvfrom(3, 0x7ffd, 4096, 0, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)\n",
    "received at once": _HEAD + _GET * 3,
    "it waited": "1.0 socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3 <0.1>\n"
    "2.0 poll([{fd=3, events=POLLIN}], 1, -1) = 1 ([{fd=3, revents=POLLIN}]) <5.0>\n"
    '8.0 recvfrom(3, "x"..., 4096, 0, NULL, NULL) = 4096 <0.001>\n',
}


def find(t: Tables) -> Any:
    """One row a poll."""
    import ibis
    from ibis import _

    got = t.steps.filter(_.nr.isin(numbers(*RECEIVES)), ~_.regular, _.ret > 0, _.ofd.notnull())
    got = got.filter(_.before.isin(numbers(*POLLS)), _.before_ret == 1).select("image", "before_seq", got_ns="ns")
    polls = t.calls.filter(_.name.isin(POLLS)).select("seq", "ns", "blocked_ns")
    polls = got.join(polls, got.before_seq == polls.seq)
    certainty = ibis.cases((_.blocked_ns.isnull(), 1), (_.blocked_ns < WAITED_NS, 2), else_=-1)
    polls = polls.mutate(certainty=certainty).filter(_.certainty > 0).drop("blocked_ns")
    return instances(polls, "sockets", end_ns=_.got_ns, certainty=_.certainty)

"""A descriptor's interest is changed back and forth between two waits.

Why it costs
    Only what holds when epoll_wait is called matters: changes that cancel out, and all but the last of several, are
    entries of the kernel for nothing.

Rewritten by
    `epoll_shadow`: the interest list is kept in the process, and what differs is told before the next wait.

Gives up
    The order of events, and which descriptor is served first.

How it is found
    More than one epoll_ctl for the same descriptor between two waits on the same epoll descriptor.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import Tables, breaks_before

SLUG = "epoll_churn"
CALLS = ("epoll_ctl",)
KIND = "dead"
RULE = "epoll_shadow"
LAYER = ("program's event loop",)
ADVICE = "keep the wanted interest in the program, and tell the kernel once before waiting"
BEFORE = {"epoll_ctl": "saved"}
AFTER = {"epoll_shadow:epoll_ctl": "calls"}

_WAIT = "epoll_wait(5, [{events=EPOLLIN, data=0x1}], 64, -1) = 1\n"
_OFF_ON = """
        epoll_ctl(5, EPOLL_CTL_DEL, 9, 0x7ffd) = 0
        epoll_ctl(5, EPOLL_CTL_ADD, 9, {events=EPOLLIN, data=0x9}) = 0
"""
FIRES = {
    "off and on": (_WAIT + _OFF_ON) * 3,
    "changed twice": (_WAIT + "epoll_ctl(5, EPOLL_CTL_MOD, 9, {events=EPOLLOUT, data=0x9}) = 0\n" * 2) * 3,
}
SILENT = {
    "once a turn": (_WAIT + "epoll_ctl(5, EPOLL_CTL_MOD, 9, {events=EPOLLIN, data=0x9}) = 0\n") * 3,
    "different descriptors": _WAIT
    + "".join(f"epoll_ctl(5, EPOLL_CTL_ADD, {n}, {{events=EPOLLIN, data=0x9}}) = 0\n" for n in (7, 8, 9)),
    "a wait between": (_OFF_ON.replace("= 0\n", "= 0\n" + _WAIT)),
}

_WAITS = ("epoll_wait", "epoll_pwait", "epoll_pwait2")
DEL = 2


def find(t: Tables) -> Any:
    """One row a descriptor's changes between two waits."""
    import ibis
    from ibis import _

    used = t.calls.filter(_.name.isin((*CALLS, *_WAITS)), _.ofd.notnull())
    used = used.select("image", "seq", "ns", "ofd", fd=_.a2, kind=_.a1, waits=_.name.isin(_WAITS), ret=_.ret)
    changes = used.filter(~_.waits, _.ret == 0)
    used = changes.join(breaks_before(changes, used.filter(_.waits), "image", "ofd").rename(turn="breaks"), "seq")
    turns = used.group_by("image", "ofd", "fd", "turn").aggregate(
        n=_.count(),
        begin_ns=_.ns.min(),
        end_ns=_.ns.max(),
        claims=_.seq.collect(),
        first=_.kind.argmin(_.seq),
        last=_.kind.argmax(_.seq),
    )
    turns = turns.filter(_.n > 1)
    # Off first and on last leaves things as they were but for what is waited for: one change, as a rule none.
    cancels = (_.first == DEL) & (_.last != DEL)
    saved = ibis.ifelse(cancels, _.n, _.n - 1)
    return instances(
        turns, "event descriptors", calls=_.n, begin_ns=_.begin_ns, end_ns=_.end_ns, claims=_.claims, saved=saved
    )

"""A descriptor is taken off the epoll list and then closed.

Why it costs
    The close takes it off by itself, unless another descriptor names the same description.

Rewritten by
    `epoll_shadow`: the removal waits, and the close makes it needless.

Gives up
    Nothing, while no other descriptor names the description.

How it is found
    EPOLL_CTL_DEL of a descriptor whose next captured use is its close.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import Tables, ordered

SLUG = "epoll_delete_before_close"
CALLS = ("epoll_ctl",)
KIND = "dead"
RULE = "epoll_shadow"
LAYER = ("program's event loop",)
ADVICE = "close it without EPOLL_CTL_DEL, where it was never duplicated"
BEFORE = {"epoll_ctl": "calls"}
AFTER = {"epoll_shadow:epoll_ctl": "calls"}

DEL = 2

_ADD = "epoll_ctl(5, EPOLL_CTL_ADD, 9, {events=EPOLLIN, data=0x9}) = 0\n"
_DEL = "epoll_ctl(5, EPOLL_CTL_DEL, 9, 0x7ffd) = 0\n"
FIRES = {"a connection ends": "accept4(4, NULL, NULL, SOCK_NONBLOCK) = 9\n" + _ADD + _DEL + "close(9) = 0\n"}
SILENT = {
    "added again": "accept4(4, NULL, NULL, SOCK_NONBLOCK) = 9\n" + _ADD + _DEL + _ADD + "close(9) = 0\n",
    "duplicated": "accept4(4, NULL, NULL, SOCK_NONBLOCK) = 9\ndup(9) = 10\n" + _ADD + _DEL + "close(9) = 0\n",
    "kept open": _ADD + _DEL,
}


def find(t: Tables) -> Any:
    """One row a removal."""
    import ibis
    from ibis import _

    removed = t.calls.filter(_.name == "epoll_ctl", _.ret == 0).select(
        "image", "seq", "ns", fd=_.a2, removed=_.a1 == DEL, closed=ibis.literal(False), ofd=ibis.null("int64")
    )
    closed = t.calls.filter(_.name == "close", _.ret == 0).select(
        "image", "seq", "ns", fd=_.a0, removed=ibis.literal(False), closed=ibis.literal(True), ofd=_.ofd
    )
    shared = t.calls.filter(_.name.isin(("dup", "dup2", "dup3")), _.ret >= 0).select("ofd").distinct()
    here = ordered("image", "fd")
    both = removed.union(closed).mutate(
        then=_.closed.lead().over(here), which=_.ofd.lead().over(here), end_ns=_.ns.lead().over(here)
    )
    both = both.filter(_.removed, _.then.fill_null(False)).anti_join(shared, _.which == shared.ofd)
    return instances(both, "event descriptors", end_ns=_.end_ns)

"""A wake-up is written where one is pending already.

Why it costs
    A thread that has not read its pipe or event descriptor yet wakes up anyway. In Firefox 98 500 such calls were
    dropped, and no time was gained: it is told so that nobody looks for it there.

Rewritten by
    No rule: it gained nothing.

Gives up
    -

How it is found
    A write of at most 8 bytes to a pipe or event descriptor, whose last use was such a write, too.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import FIFO, Tables, ordered

SLUG = "wakeup_writes"
CALLS = ("write",)
KIND = "dead"
RULE = None
LAYER = ("library's event loop",)
ADVICE = "keep a flag that a wake-up is pending; measured gain in a browser: none"
BEFORE = {"pipe_write_1": "calls"}
AFTER: dict[str, str] = {}

SMALL_BYTES = 8

_PIPE = "pipe2([3<pipe:[7]>, 4<pipe:[7]>], O_NONBLOCK) = 0\n"
FIRES = {
    "a pipe": _PIPE + 'write(4<pipe:[7]>, "x", 1) = 1\n' * 3,
    "an event descriptor": "eventfd2(0, EFD_NONBLOCK) = 3\n" + 'write(3<anon_inode:[eventfd]>, "x"..., 8) = 8\n' * 3,
}
SILENT = {
    "each read": _PIPE + ('write(4<pipe:[7]>, "x", 1) = 1\nread(3<pipe:[7]>, "x", 1) = 1\n') * 3,
    "data": _PIPE + 'write(4<pipe:[7]>, "x"..., 400) = 400\n' * 3,
    "a file": 'open("a", O_WRONLY) = 3\n' + 'write(3, "x", 1) = 1\n' * 3,
}


def find(t: Tables) -> Any:
    """One row a write."""
    import ibis
    from ibis import _

    event = (_.ftype == 0) | (_.ftype.isnull() & _.path.startswith("anon_inode:[eventfd]").fill_null(False))
    used = t.calls.filter(_.name.isin(("read", "write", "readv", "splice")), _.ofd.notnull(), _.ret > 0)
    # Both ends of a pipe are one inode; all event descriptors share one, so they go by description.
    used = used.filter((_.ftype == FIFO) | event.fill_null(False))
    end = ibis.ifelse(_.ftype == FIFO, ibis.coalesce(_.file, _.path), _.ofd.cast("string"))
    used = used.select("image", "seq", "ns", small=(_.name == "write") & (_.ret <= SMALL_BYTES), end=end)
    here = ordered("end")
    used = used.mutate(pending=_.small & _.small.lag().over(here).fill_null(False), since_ns=_.ns.lag().over(here))
    return instances(used.filter(_.pending), "pipes and event descriptors", begin_ns=_.since_ns, end_ns=_.ns)

"""Descriptors are closed that were never open.

Why it costs
    A loop over all numbers up to the limit, before a program is started: thousands of calls that fail. close_range
    does it in one.

Rewritten by
    `close_unopened`: a number that is known to be closed gets EBADF at once.

Gives up
    Nothing, while all makers of descriptors are followed.

How it is found
    close that fails with EBADF.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import Tables

SLUG = "close_loop"
CALLS = ("close",)
KIND = "dead"
RULE = "close_unopened"
LAYER = ("program", "library's daemon or spawn")
ADVICE = "use close_range, or open everything with O_CLOEXEC"
BEFORE = {"close_unopened": "calls"}
AFTER = {"close_unopened:close_unopened": "calls"}

FIRES = {"before exec": "".join(f"close({n}) = -1 EBADF (Bad file descriptor)\n" for n in range(20, 60))}
SILENT = {
    "open ones": 'open("a", O_RDONLY) = 3\nclose(3) = 0\n',
    "in one call": "close_range(3, 4294967295, 0) = 0\n",
}

EBADF = -9


def find(t: Tables) -> Any:
    """One row a process that does it."""
    from ibis import _

    closes = t.calls.filter(_.name == "close", _.ret == EBADF)
    closes = closes.group_by("image").aggregate(
        n=_.count(), begin_ns=_.ns.min(), end_ns=_.ns.max(), claims=_.seq.collect()
    )
    return instances(
        closes, "descriptors that are not open", calls=_.n, begin_ns=_.begin_ns, end_ns=_.end_ns, claims=_.claims
    )

"""A descriptor's flags are asked for, or set to what they are.

Why it costs
    F_GETFL before F_SETFL, F_GETFD before F_SETFD: the process that opened the descriptor knows what it will hear.

Rewritten by
    `shadow_descriptor`: flags are followed in the process, and the questions answered.

Gives up
    Nothing, while no other process shares the description.

How it is found
    F_GETFL and F_GETFD that succeed; F_SETFL and F_SETFD to the value that the last such call on it told.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import described, instances
from peephole.diagnose.tables import Tables, ordered

SLUG = "descriptor_flags"
CALLS = ("fcntl",)
KIND = "dead"
RULE = "shadow_descriptor"
LAYER = ("library", "program")
ADVICE = "give the flags when the descriptor is made (O_NONBLOCK, O_CLOEXEC, SOCK_NONBLOCK, accept4)"
BEFORE = {"fcntl_getfl": "calls"}
AFTER = {"shadow_descriptor:fcntl_getfl": "calls"}

GETFD, SETFD, GETFL, SETFL = 1, 2, 3, 4

_SOCKET = "socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3\n"
FIRES = {
    "made non-blocking": _SOCKET + "fcntl(3, F_GETFL) = 0x2 (flags O_RDWR)\nfcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0\n",
    "asked for closing on exec": _SOCKET + "fcntl(3, F_GETFD) = 0\nfcntl(3, F_SETFD, FD_CLOEXEC) = 0\n",
    "set again": _SOCKET + "fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0\n" * 2,
}
SILENT = {
    "set once": _SOCKET + "fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0\n",
    "set back and forth": _SOCKET + "fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0\nfcntl(3, F_SETFL, O_RDWR) = 0\n" * 2,
    "other commands": _SOCKET + "fcntl(3, F_DUPFD, 10) = 10\n",
    "no descriptor": "fcntl(9, F_GETFD) = -1 EBADF (Bad file descriptor)\n",
}


def find(t: Tables) -> Any:
    """One row a call."""
    import ibis
    from ibis import _

    used = t.calls.filter(_.name == "fcntl", _.a1.isin((GETFD, SETFD, GETFL, SETFL)), _.ret >= 0, _.ofd.notnull())
    asking = _.a1.isin((GETFD, GETFL))
    used = used.mutate(asking=asking, which=ibis.ifelse(_.a1 < GETFL, 0, 1), value=ibis.ifelse(asking, _.ret, _.a2))
    # FD_CLOEXEC belongs to the number, the other flags to the description.
    here = ordered("image", "ofd", "a0", "which")
    used = used.mutate(known=(_.value == _.value.lag().over(here)).fill_null(False))
    used = described(t, used.filter(_.asking | _.known))
    return instances(used, _.object)

"""A setting is made that was made already.

Why it costs
    The mask of new files' modes, a socket's options, a signal's handler: set to what they are, call after call.

Rewritten by
    `repeat_setting`, where it is the action of a signal: one that is known to be in force is answered. The rest is
    advice.

Gives up
    Nothing.

How it is found
    umask that returns what it sets (certain); setsockopt of the same option of the same description with a value of
    the same length (likely: the value itself is not in the capture); rt_sigaction of a signal that is set once more
    (possible).
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import Tables, ordered

SLUG = "repeated_setting"
CALLS = ("umask", "setsockopt", "rt_sigaction")
KIND = "dead"
RULE = "repeat_setting"
LAYER = ("program", "library")
ADVICE = "remember what was set"
LEFT_ALONE = "it answers actions of signals only"
BEFORE = {"rt_sigaction": "actions", "getppid": "others"}
AFTER = {"repeat_setting:rt_sigaction": "actions", "answered": "others"}

_SOCKET = "socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3\n"
FIRES = {
    "umask": "umask(022) = 022\n" * 3,
    "a socket's option": _SOCKET + "setsockopt(3, SOL_TCP, TCP_CORK, [1], 4) = 0\n" * 3,
}
SILENT = {
    "another mask": "umask(077) = 022\numask(022) = 077\n",
    "once": _SOCKET + "setsockopt(3, SOL_TCP, TCP_NODELAY, [1], 4) = 0\n",
    "another option": _SOCKET
    + "setsockopt(3, SOL_TCP, TCP_NODELAY, [1], 4) = 0\nsetsockopt(3, SOL_SOCKET, SO_KEEPALIVE, [1], 4) = 0\n",
    "handlers": "rt_sigaction(SIGINT, {sa_handler=SIG_IGN}, NULL, 8) = 0\n" * 3,
}


def find(t: Tables) -> Any:
    """One row a call."""
    import ibis
    from ibis import _

    made = t.calls.filter(_.name.isin(CALLS), _.ret >= 0)
    made = made.select("image", "seq", "ns", "name", "a0", "a1", "a2", "a4", "ret", "ofd")
    here = ordered("image", "name", "ofd", "a0")
    same = ibis.and_(*[(_[at] == _[at].lag().over(here)).fill_null(False) for at in ("a1", "a2", "a4")])
    made = made.mutate(
        option=same & (_.name == "setsockopt"), again=(_.name == "rt_sigaction") & _.seq.lag().over(here).notnull()
    )
    mask = (_.name == "umask") & (_.ret == _.a0)
    certainty = ibis.cases((mask.fill_null(False), 2), (_.option, 1), (_.again, 0), else_=-1)
    made = made.mutate(certainty=certainty).filter(_.certainty >= 0)
    action = _.name == "rt_sigaction"
    return instances(
        made,
        _.name.concat(" of what is set"),
        certainty=_.certainty,
        handled=action,
        actions=action.cast("int64"),
        others=(~action).cast("int64"),
    )

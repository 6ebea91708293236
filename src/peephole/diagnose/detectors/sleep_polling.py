"""A thread waits for something by sleeping, again and again.

Why it costs
    No CPU, but time: what is waited for happens early in a sleep, and is noticed at its end. An audio renderer that
    slept twice 250 ms finished in 4 % of its time once the sleeps were short.

Rewritten by
    `short_poll`: sleeps in a row become short, and grow.

Gives up
    The least time that a sleep takes; unsafe where the sleep limits a rate.

How it is found
    A sleep directly behind an equal one in the same thread, with no other call between, for 5 % of the program's life
    or more.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import Tables, numbers

SLUG = "sleep_polling"
CALLS = ("nanosleep", "clock_nanosleep")
KIND = "guarantee"
RULE = "short_poll"
LAYER = ("program",)
ADVICE = "wait for the event itself (a condition variable, an event descriptor, waitpid) instead of sleeping"
BEFORE: dict[str, str] = {}
AFTER: dict[str, str] = {}
WAITING = True

_SLEEP = "clock_nanosleep(CLOCK_REALTIME, 0, {tv_sec=0, tv_nsec=250000000}, NULL) = 0\n"
FIRES = {"two in a row": _SLEEP * 2}
SILENT = {
    "work between": (_SLEEP + "getpid() = 7\n") * 2,
    "one": _SLEEP,
    "interrupted": _SLEEP.replace(
        "NULL) = 0", "{tv_sec=0, tv_nsec=9}) = ? ERESTART_RESTARTBLOCK (Interrupted by signal)"
    )
    * 2,
}


def find(t: Tables) -> Any:
    """One row a sleep that follows one."""
    from ibis import _

    sleeps = numbers(*CALLS)
    again = t.steps.filter(_.nr.isin(sleeps), _.before == _.nr, _.ret == 0, _.before_ret == 0)
    return instances(again, "sleeps", begin_ns=_.ns - _.gap_ns, end_ns=_.ns, blocked_ns=_.gap_ns)

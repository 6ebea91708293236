"""Signals are held back and let go again, with nothing done between.

Why it costs
    Two entries of the kernel; what they guard was decided in user space.

Rewritten by
    No rule yet.

Gives up
    In the program: a signal that arrives between is taken a moment earlier.

How it is found
    rt_sigprocmask that sets a mask directly behind another one in the same thread.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import Tables, numbers

SLUG = "idle_sigmask"
CALLS = ("rt_sigprocmask",)
KIND = "dead"
RULE = None
LAYER = ("library (sigsetjmp, pthread_create)", "shell")
ADVICE = "use setjmp or sigsetjmp(env, 0) where the mask need not be kept"
BEFORE = {"rt_sigprocmask": "calls"}
AFTER: dict[str, str] = {}

SIG_SETMASK = 2

_PAIR = "rt_sigprocmask(SIG_BLOCK, [CHLD], [], 8) = 0\nrt_sigprocmask(SIG_SETMASK, [], NULL, 8) = 0\n"
FIRES = {"around nothing": _PAIR * 3}
SILENT = {
    "around a fork": _PAIR.replace("rt_sigprocmask(SIG_SETMASK", "fork() = 8\nrt_sigprocmask(SIG_SETMASK") * 3,
    "once": "rt_sigprocmask(SIG_BLOCK, [CHLD], [], 8) = 0\ngetpid() = 7\n",
}


def find(t: Tables) -> Any:
    """One row a pair."""
    from ibis import _

    masks = numbers("rt_sigprocmask")
    second = t.steps.filter(_.nr.isin(masks), _.before.isin(masks), _.ret == 0).select("seq", "gap_ns")
    restored = t.calls.filter(_.name == "rt_sigprocmask", _.a0 == SIG_SETMASK).join(second, "seq")
    return instances(restored, "signal masks", calls=2, begin_ns=_.ns - _.gap_ns, end_ns=_.ns)

"""A process asks who it is, again and again.

Why it costs
    Its number and its user do not change but by its own calls: each question is an entry of the kernel.

Rewritten by
    `memo_identity`: the answer is kept until the process forks or changes it.

Gives up
    Nothing.

How it is found
    getpid, gettid, getuid, geteuid, getgid, getegid, getpgrp or getsid more than once in one process image; per thread
    for gettid.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import Tables

SLUG = "repeated_identity"
CALLS = ("getpid", "gettid", "getuid", "geteuid", "getgid", "getegid", "getpgrp")
KIND = "dead"
RULE = "memo_identity"
LAYER = ("library", "program")
ADVICE = "keep the answer in a variable, and ask anew after fork"
BEFORE = {"getpid": "calls"}
AFTER = {"memo_identity:getpid": "calls"}

FIRES = {"getpid": "getpid() = 7\n" * 3, "geteuid": "geteuid() = 0\n" * 3}
SILENT = {"once each": "getpid() = 7\ngeteuid() = 0\ngetuid() = 0\n", "the parent": "getppid() = 7\n" * 3}


def find(t: Tables) -> Any:
    """One row a kind of question."""
    from ibis import _

    asked = t.calls.filter(_.name.isin(CALLS)).group_by("image", "tid", "name")
    asked = asked.aggregate(n=_.count(), begin_ns=_.ns.min(), end_ns=_.ns.max(), claims=_.seq.collect()).filter(_.n > 1)
    return instances(asked, _.name, calls=_.n - 1, begin_ns=_.begin_ns, end_ns=_.end_ns, claims=_.claims)

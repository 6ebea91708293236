"""A program is started by copying the whole process first.

Why it costs
    fork copies the page tables of a process that its child throws away at exec: the larger the process, the dearer.
    vfork and posix_spawn share them: 6 times less for a small one.

Rewritten by
    No rule: the child may write to memory that it would then share.

Gives up
    In the program: nothing, with posix_spawn.

How it is found
    fork, or clone without CLONE_VM, whose child's next image is another program.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import Tables, ordered

SLUG = "fork_then_exec"
CALLS = ("fork", "clone")
KIND = "crossing"
RULE = None
LAYER = ("program", "library")
ADVICE = "use posix_spawn or vfork (Python: close_fds=False lets subprocess use them)"
BEFORE = {"fork": "calls"}
AFTER = {"vfork": "calls"}

CLONE_VM = 0x100

_EXEC = '8 execve("/bin/true", ["true"], 0x7f /* 9 vars */) = 0\n'
FIRES = {
    "fork": "7 fork() = 8\n" + _EXEC,
    "the C library's fork": "7 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD) = 8\n8 getpid() = 8\n"
    + _EXEC,
}
SILENT = {
    "no exec": "7 fork() = 8\n8 getpid() = 8\n",
    "vfork": "7 vfork() = 8\n" + _EXEC,
    "a thread": "7 clone(child_stack=0x7f, flags=CLONE_VM|CLONE_THREAD|CLONE_SIGHAND) = 8\n8 getpid() = 8\n",
}


def find(t: Tables) -> Any:
    """One row a fork."""
    import ibis
    from ibis import _

    flags = ibis.ifelse(_.name == "clone", _.a0.fill_null(0), 0)
    forks = t.calls.filter(_.name.isin(CALLS), _.ret > 0).filter((flags & CLONE_VM) == 0)
    forks = forks.select("image", "seq", "ns", child=_.ret.cast("int64"), fork=ibis.literal(True))
    execs = t.calls.filter(_.name.isin(("execve", "execveat")), _.ret == 0)
    execs = execs.select("image", "seq", "ns", child=_.pid.cast("int64"), fork=ibis.literal(False))
    here = ordered("child")
    both = forks.union(execs).mutate(then=_.fork.lead().over(here), end_ns=_.ns.lead().over(here))
    return instances(both.filter(_.fork, (~_.then).fill_null(False)), "processes", end_ns=_.end_ns)

"""A pipe is read one byte at a time.

Why it costs
    A shell must not take more than its line from a pipe that its commands read, too: so it reads single bytes, an
    entry of the kernel each.

Rewritten by
    `peek_pipe`: the pipe's content is looked at with tee, and exactly what was used is taken before anybody else could.

Gives up
    Resources and timing: the pipe stays fuller, so that who writes to it may wait. Nothing else, while the process is
    the pipe's only reader, which is looked for.

How it is found
    16 or more reads of one byte from one pipe by one process.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import FIFO, Tables

SLUG = "byte_reads"
CALLS = ("read",)
KIND = "crossing"
RULE = "peek_pipe"
LAYER = ("shell's read",)
ADVICE = "read whole files (mapfile), or use a tool that reads lines (awk, sed)"
BEFORE = {"pipe_read_1": "calls"}
AFTER = {"peek_pipe:pipe_read_1": "calls"}

ENOUGH = 16

_PIPE = "pipe2([3<pipe:[7]>, 4<pipe:[7]>], 0) = 0\n"
FIRES = {"while read": _PIPE + 'read(3, "x", 1) = 1\n' * 40}
SILENT = {
    "few": _PIPE + 'read(3, "x", 1) = 1\n' * 5,
    "more at a time": _PIPE + 'read(3, "x"..., 4096) = 10\n' * 40,
    "a file": 'openat(AT_FDCWD, "a", O_RDONLY) = 3\n' + 'read(3, "x", 1) = 1\n' * 40,
}


def find(t: Tables) -> Any:
    """One row a pipe."""
    from ibis import _

    reads = t.calls.filter(_.name == "read", _.a2 == 1, _.ret == 1, _.ftype == FIFO)
    pipes = reads.group_by("image", "ofd").aggregate(
        n=_.count(), begin_ns=_.ns.min(), end_ns=_.ns.max(), claims=_.seq.collect()
    )
    pipes = pipes.filter(_.n >= ENOUGH)
    return instances(
        pipes,
        "pipes",
        calls=_.n,
        bytes=_.n,
        begin_ns=_.begin_ns,
        end_ns=_.end_ns,
        claims=_.claims,
    )

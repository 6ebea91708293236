"""A file is written in small pieces, one after the other.

Why it costs
    Each write enters the kernel, takes the inode's lock and a page for a few bytes. Gathered into one large write the
    same bytes cost a fraction: up to 100 times less in the kernel, and as much of the whole program as its writes were.

Rewritten by
    `coalesce_writes`: bytes gather in the process and go out when the buffer is full, and before anything that could
    tell the difference: another use of the file, a call that may block or communicate, fork, exec, exit.

Gives up
    Others see the bytes a moment later, and a full disk is reported at a later call. `peephole prove coalesce_writes`
    tells the whole story.

How it is found
    Writes of less than 4096 bytes through one description of a regular file, with nothing between one and the next
    that would have made the rule write out what it holds. Descriptions that the process did not open itself are
    told, but the rule does not take them: another process may write through them.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import described, instances
from peephole.diagnose.tables import INERT, ON_DESCRIPTOR, Tables, breaks_before, numbers, ordered

SLUG = "small_writes"
CALLS = ("write", "writev")
KIND = "crossing"
RULE = "coalesce_writes"
LAYER = ("standard library's buffer, flushed or bypassed",)
ADVICE = "write in larger pieces: buffer in the program, and flush less often"
BEFORE = {"write_call": "calls", "write_byte": "bytes"}
AFTER = {"coalesce_writes:write_call": "calls", "coalesce_writes:write_byte": "bytes", "write_call": "flushes"}

SMALL_BYTES = 4096
#: fewer joined writes than this to one file are not a habit
ENOUGH = 16

_ONE = '\n        write(3, "line\\n", 5) = 5'
_ONE_AND_GETPID = _ONE + "\n        getpid() = 7"
_ONE_AND_SYNC = _ONE + "\n        fdatasync(3) = 0"
_ONE_AND_POLL = _ONE + "\n        poll([{fd=4, events=POLLIN}], 1, -1) = 1"
FIRES = {
    "print(flush=True)": f"""
        openat(AT_FDCWD, "out.txt", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0666) = 3
        newfstatat(3, "", {{st_mode=S_IFREG|0644, st_size=0, ...}}, AT_EMPTY_PATH) = 0{_ONE * 40}
        close(3) = 0
    """,
    "with harmless calls between": f"""
        openat(AT_FDCWD, "out.txt", O_WRONLY|O_CREAT|O_APPEND, 0666) = 3
        {_ONE_AND_GETPID * 40}
        close(3) = 0
    """,
}
SILENT = {
    "few": f"""
        openat(AT_FDCWD, "out.txt", O_WRONLY|O_CREAT, 0666) = 3{_ONE * 5}
        close(3) = 0
    """,
    "large pieces": """
        openat(AT_FDCWD, "out.txt", O_WRONLY|O_CREAT, 0666) = 3
    """
    + '\n        write(3, "aaaa"..., 65536) = 65536' * 40,
    "each made durable": f"""
        openat(AT_FDCWD, "out.txt", O_WRONLY|O_CREAT, 0666) = 3
        {_ONE_AND_SYNC * 40}
    """,
    "each followed by a wait": f"""
        openat(AT_FDCWD, "out.txt", O_WRONLY|O_CREAT, 0666) = 3
        {_ONE_AND_POLL * 40}
    """,
    "a pipe": f"""
        pipe2([4<pipe:[7]>, 3<pipe:[7]>], 0) = 0{_ONE * 40}
    """,
    "a terminal": """
        openat(AT_FDCWD, "/dev/tty", O_RDWR) = 3
    """
    + _ONE * 40,
}


def find(t: Tables) -> Any:
    """One row a description that is written in small pieces."""
    from ibis import _

    # A call that would make the rule write out everything begins a new epoch of its process.
    writes = numbers("write", "writev")
    on_file = _.nr.isin(numbers(*ON_DESCRIPTOR)) & _.regular
    settles = (~_.nr.isin(numbers(*INERT)) & ~on_file).fill_null(True)
    small = (_.nr.isin(writes) & _.regular & (_.ret > 0) & (_.ret < SMALL_BYTES)).fill_null(False)
    image, ofd = _.image.cast("int32"), _.ofd.cast("int32")
    rows = t.calls.select("seq", "ret", "ns", "regular", image=image, ofd=ofd, settles=settles, small=small)
    often = rows.filter(_.small).group_by("image", "ofd").aggregate(n=_.count()).filter(_.n > ENOUGH)
    used = rows.filter(_.regular, _.ofd.notnull()).semi_join(often, ["image", "ofd"])
    settling = rows.filter(_.settles).semi_join(often.select("image").distinct(), "image")
    used = used.join(breaks_before(used, settling, "image").rename(epoch="breaks"), "seq")
    after = ordered("image", "ofd")
    joined = (
        _.small & _.small.lag().over(after).fill_null(False) & (_.epoch == _.epoch.lag().over(after)).fill_null(False)
    )
    runs = (
        used.mutate(joined=joined)
        .filter(_.small)
        .group_by("image", "ofd")
        .aggregate(
            calls=_.count(),
            joined=_.joined.sum(),
            bytes=_.ret.sum(),
            begin_ns=_.ns.min(),
            end_ns=_.ns.max(),
            claims=_.seq.collect(),
        )
    )
    devices = t.opens.group_by("ofd").aggregate(dev=_.dev.max())
    runs = described(t, runs.filter(_.joined >= ENOUGH).left_join(devices, "ofd").drop("ofd_right"))
    return instances(
        runs,
        _.object,
        calls=_.calls,
        bytes=_.bytes,
        begin_ns=_.begin_ns,
        end_ns=_.end_ns,
        handled=_.own,
        claims=_.claims,
        flushes=_.calls - _.joined,
    )

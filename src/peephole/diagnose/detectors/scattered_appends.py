"""Small records are appended to a log, each in a write of its own with waits between.

Why it costs
    Each record enters the kernel and takes the inode's lock for a few bytes.

Rewritten by
    `append_log`: records gather and go out together, at the latest after the rule's time limit.

Gives up
    Others see records later; on a crash of the program or the machine the last ones may be missing.

How it is found
    16 or more writes of less than 512 bytes through one description that was opened with O_APPEND, or that only goes
    forward, where the process waits or communicates between two of them, so that `coalesce_writes` would gain nothing.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import described, instances
from peephole.diagnose.tables import O_APPEND, Tables, ordered

SLUG = "scattered_appends"
CALLS = ("write", "writev")
KIND = "crossing"
RULE = "append_log"
LAYER = ("program",)
ADVICE = "let the program buffer its log (squid: buffered_logs on; nginx: access_log ... buffer=64k flush=1s)"
BEFORE = {"write_call": "calls"}
AFTER = {"answered": "calls"}

SMALL_BYTES = 512
ENOUGH = 16

_OPEN = 'openat(AT_FDCWD, "swap.state", O_WRONLY|O_CREAT|O_APPEND, 0600) = 3\n'
_WAIT = "epoll_wait(4, [], 64, 1000) = 0\n"
FIRES = {"a record per request": _OPEN + ('write(3, "r"..., 72) = 72\n' + _WAIT) * 20}
SILENT = {
    "few": _OPEN + ('write(3, "r"..., 72) = 72\n' + _WAIT) * 5,
    "back to back": _OPEN + 'write(3, "r"..., 72) = 72\n' * 40,
    "each made durable": _OPEN + ('write(3, "r"..., 72) = 72\nfdatasync(3) = 0\n') * 20,
    "a socket": "socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3\n" + ('write(3, "r"..., 72) = 72\n' + _WAIT) * 20,
    "not a log": _OPEN.replace("|O_APPEND", "") + ('write(3, "r"..., 72) = 72\n' + _WAIT) * 20,
}


def find(t: Tables) -> Any:
    """One row a log."""
    from ibis import _

    logs = t.opens.filter((_.flags & O_APPEND) != 0, _.regular).select("ofd")
    used = t.calls.filter(_.name.isin((*CALLS, "fsync", "fdatasync")), _.regular).semi_join(logs, "ofd")
    used = used.select("tid", "ofd", "seq", "name", "ret", "ns", image=_.image.cast("int32"))
    used = t.waits_before(used, t.waits)
    here = ordered("image", "ofd")
    small = _.name.isin(CALLS) & (_.ret > 0) & (_.ret < SMALL_BYTES)
    apart = small & small.lag().over(here).fill_null(False) & (_.waits != _.waits.lag().over(here)).fill_null(False)
    files = (
        used.mutate(apart=apart)
        .filter(_.apart)
        .group_by("image", "ofd")
        .aggregate(n=_.count(), bytes=_.ret.sum(), begin_ns=_.ns.min(), end_ns=_.ns.max(), claims=_.seq.collect())
    )
    files = described(t, files.filter(_.n >= ENOUGH))
    return instances(
        files,
        _.object,
        calls=_.n,
        bytes=_.bytes,
        begin_ns=_.begin_ns,
        end_ns=_.end_ns,
        handled=_.own,
        claims=_.claims,
    )

"""A path is examined, and then opened.

Why it costs
    stat or access walks the path, one to three microseconds; the open that follows walks it again. fstat of what was
    opened gives the same answer for a tenth of it.

Rewritten by
    No rule: the error that the program would see first may be another one.

Gives up
    In the program: nothing, and a race between the two calls is gone.

How it is found
    stat, lstat, access or their kin succeed, and the next call of the process that names a path is an open of the
    same one.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import OPENS, Tables, ordered

SLUG = "stat_then_open"
CALLS = ("stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2")
KIND = "dead"
RULE = None
LAYER = ("program", "library")
ADVICE = "open first, then fstat the descriptor"
BEFORE = {"stat": "calls"}
AFTER = {"fstat": "calls"}

_STAT = 'stat("a", {st_mode=S_IFREG|0644, st_size=1, ...}) = 0\n'
_OPEN = 'openat(AT_FDCWD, "a", O_RDONLY) = 3\n'
FIRES = {
    "stat": _STAT + _OPEN,
    "access": 'access("a", R_OK) = 0\n' + _OPEN,
    "with other calls between": _STAT + "getpid() = 7\n" + _OPEN,
}
SILENT = {
    "another file": _STAT.replace('"a"', '"b"') + _OPEN,
    "not there": 'stat("a", 0x7ffd) = -1 ENOENT (No such file or directory)\n' + _OPEN,
    "the other order": _OPEN + _STAT,
    "something else first": _STAT + 'unlink("b") = 0\n' + _OPEN,
    "not opened": _STAT + 'openat(AT_FDCWD, "a", O_RDONLY) = -1 EACCES (Permission denied)\n',
}


def find(t: Tables) -> Any:
    """One row an examination."""
    from ibis import _

    # Every call that names a path; in strace text calls on descriptors have one, too.
    named = t.calls.filter(_.path.notnull(), _.path != "", _.name.isin((*CALLS, *OPENS)) | _.ofd.isnull())
    named = named.select("image", "seq", "ns", "name", "path", "ret")
    here = ordered("image")
    named = named.mutate(after=_.name.lead().over(here), then=_.path.lead().over(here), got=_.ret.lead().over(here))
    examined = named.filter(_.name.isin(CALLS), _.ret == 0, _.after.isin(OPENS), _.then == _.path, _.got >= 0)
    return instances(examined, _.path)

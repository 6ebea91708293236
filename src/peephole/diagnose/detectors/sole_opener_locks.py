"""Byte ranges of a file are locked that nobody else has open.

Why it costs
    Databases in a file lock and unlock around every statement; where one process alone uses the file there is nobody
    to keep out.

Rewritten by
    `sole_opener_locks`: locks are kept in the process until somebody else opens the file.

Gives up
    exclusion, unless nobody else opens the file: which the rule must make sure of.

How it is found
    fcntl locks of a file that only one of the captured processes uses. Whether another one has it open can't be seen.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import described, instances
from peephole.diagnose.tables import Tables

SLUG = "sole_opener_locks"
CALLS = ("fcntl",)
KIND = "guarantee"
RULE = "sole_opener_locks"
LAYER = ("library (sqlite)",)
ADVICE = "SQLite: PRAGMA locking_mode=EXCLUSIVE, or larger transactions"
BEFORE = {"fcntl_lock": "calls"}
AFTER = {"answered": "calls"}

#: F_GETLK, F_SETLK, F_SETLKW, and those of open file descriptions
LOCKS = (5, 6, 7, 36, 37, 38)

_LOCK = "fcntl(3, F_SETLK, {l_type=F_RDLCK, l_whence=SEEK_SET, l_start=1073741826, l_len=510}) = 0\n"
FIRES = {"a database": 'openat(AT_FDCWD, "app.db", O_RDWR|O_CREAT) = 3\n' + _LOCK * 4}
SILENT = {
    "two processes": '7 openat(AT_FDCWD, "app.db", O_RDWR) = 3\n7 fork() = 8\n7 ' + _LOCK + "8 " + _LOCK,
    "held by another": 'openat(AT_FDCWD, "app.db", O_RDWR|O_CREAT) = 3\n'
    + _LOCK.replace("= 0", "= -1 EAGAIN (Resource temporarily unavailable)"),
}


def find(t: Tables) -> Any:
    """One row a lock or unlock."""
    from ibis import _

    locks = t.calls.filter(_.name == "fcntl", _.a1.isin(LOCKS), _.ofd.notnull(), _.file.notnull())
    users = t.calls.filter(_.file.notnull(), _.ofd.notnull()).semi_join(locks.select("file").distinct(), "file")
    users = users.group_by("file").aggregate(users=_.image.nunique(), refused=(locks_refused()).sum())
    alone = users.filter(_.users == 1, _.refused == 0).select("file")
    locks = described(t, locks.filter(_.ret == 0).semi_join(alone, "file"))
    return instances(locks, _.object, certainty=1)


def locks_refused() -> Any:
    """Whether a call is a lock that somebody else kept from being had."""
    from ibis import _

    return ((_.name == "fcntl") & _.a1.isin(LOCKS) & (_.ret < 0)).fill_null(False).cast("int64")

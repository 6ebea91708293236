"""A file is looked for in several places, again and again, and is not there.

Why it costs
    Each miss walks a path to find nothing: one to three microseconds. Compilers, interpreters and loaders search
    their folders anew for every name.

Rewritten by
    `cache_absent`: a name that a folder did not hold is answered by ENOENT while the folder is unchanged.

Gives up
    freshness: a file that another program makes within the same tick is seen later.

How it is found
    An open, stat, access or readlink that fails with ENOENT for a path that failed the same way before, in the same
    process or one that began later, with no captured call that makes that path in between.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import EXAMINES, OPENS, Tables, ordered

SLUG = "absent_lookups"
CALLS = (*OPENS, *EXAMINES)
KIND = "redundant"
RULE = "cache_absent"
LEFT_ALONE = "it answers only where a file would be opened"
LAYER = ("program", "loader")
ADVICE = "shorten the search path, put the folder that is hit most first, or keep what was found"
BEFORE = {"open_absent": "calls"}
AFTER = {"cache_absent:open_absent": "calls"}

ENOENT = -2
_MAKES = ("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "mkdir", "mkdirat", "mknod")

_MISS = 'openat(AT_FDCWD, "/usr/local/include/stdio.h", O_RDONLY) = -1 ENOENT (No such file or directory)\n'
FIRES = {
    "headers": _MISS * 3,
    "asked differently": _MISS + 'stat("/usr/local/include/stdio.h", 0x7ffd) = -1 ENOENT (No such file or directory)\n',
    "in the next process": "7 " + _MISS + "7 fork() = 8\n8 " + _MISS,
}
SILENT = {
    "once": _MISS,
    "different names": _MISS + _MISS.replace("stdio", "stdlib"),
    "made in between": _MISS + 'rename("x", "/usr/local/include/stdio.h") = 0\n' + _MISS,
    "found": 'openat(AT_FDCWD, "a", O_RDONLY) = 3\n' * 3,
}


def find(t: Tables) -> Any:
    """One row a miss that repeats one."""
    import ibis
    from ibis import _

    missed = t.calls.filter(_.name.isin(CALLS), _.ret == ENOENT, _.path.notnull(), _.path != "")
    # A relative name means another file in another directory: those repeat within one process only.
    where = ibis.ifelse(_.path.startswith("/"), ibis.literal(0, "int64"), _.image)
    missed = missed.select(
        "image", "seq", "ns", "path", where=where, missed=ibis.literal(True), opening=_.name.isin(OPENS)
    )
    made = t.opens.select("image", "seq", "ns", "path")
    renamed = t.calls.filter(_.name.isin(_MAKES), _.ret == 0)
    second = renamed.filter(_.path2.notnull()).select("image", "seq", "ns", path=_.path2)
    first = renamed.filter(_.path.notnull()).select("image", "seq", "ns", "path")
    made = made.union(second).union(first).semi_join(missed.select("path").distinct(), "path")
    made = made.mutate(
        where=ibis.ifelse(_.path.startswith("/"), ibis.literal(0, "int64"), _.image),
        missed=ibis.literal(False),
        opening=ibis.literal(False),
    )
    made = made.select("image", "seq", "ns", "path", "where", "missed", "opening")
    after = ordered("where", "path")
    again = missed.union(made).mutate(again=_.missed.lag().over(after), since_ns=_.ns.lag().over(after))
    again = again.filter(_.missed, _.again.fill_null(False))
    return instances(again, _.path, begin_ns=_.since_ns, end_ns=_.ns, handled=_.opening)

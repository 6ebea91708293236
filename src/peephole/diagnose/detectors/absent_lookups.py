"""A file is looked for in several places, again and again, and is not there.

Why it costs
    Each miss walks a path to find nothing: one to three microseconds. Compilers, interpreters and loaders search
    their folders anew for every name.

Rewritten by
    `cache_absent`: a folder in which four files were looked for is listed, and what it lacks is answered by ENOENT
    until the program does anything else than open, read and examine files.

Gives up
    freshness: a file that another program makes within the same tick is seen later.

How it is found
    An open, stat, access or readlink that fails with ENOENT for a path that failed the same way before, in the same
    process or one that began later, with no captured call that makes that path in between.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import (
    EXAMINES,
    INERT,
    O_CREAT,
    ON_DESCRIPTOR,
    OPENS,
    Tables,
    breaks_before,
    ordered,
)

SLUG = "absent_lookups"
CALLS = (*OPENS, *EXAMINES)
KIND = "redundant"
RULE = "cache_absent"
LEFT_ALONE = "it answers only opens, in a folder that four were looked for in since the program did anything else"
LAYER = ("program", "loader")
ADVICE = "shorten the search path, put the folder that is hit most first, or keep what was found"
BEFORE = {"open_absent": "calls"}
AFTER = {"cache_absent:open_absent": "calls"}

ENOENT, TMPFILE = -2, 0o20000000
#: so often a file is looked for in a folder before the rule lists it
ASKED = 4
#: what the rule knows stays while the program makes only such calls, or others on regular files
_STAYS = (
    "stat",
    "lstat",
    "access",
    "newfstatat",
    "readlink",
    "statx",
    "faccessat2",
    "mmap",
    "close",
    "dup",
    "dup2",
    "dup3",
)
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
    again = t.keep(again.filter(_.missed, _.again.fill_null(False)))
    known = again.left_join(_listed(t, again.filter(_.opening).select("image").distinct()), "seq")
    return instances(known, _.path, begin_ns=_.since_ns, end_ns=_.ns, handled=_.listed.fill_null(False))


def _listed(t: Tables, images: Any) -> Any:
    """Opens of these processes, `seq`, in a folder that the rule has listed by then."""
    import ibis
    from ibis import _

    flags = ibis.ifelse(_.name == "open", _.a1, _.a2)
    plain = _.name.isin(("open", "openat")) & ((flags & (O_CREAT | TMPFILE)) == 0)
    stays = plain | _.name.isin((*INERT, *_STAYS)) | (_.name.isin(ON_DESCRIPTOR) & _.regular)
    calls = t.calls.semi_join(images, "image")
    opens = calls.filter(plain, _.path.notnull())
    opens = opens.select("image", "seq", folder=_.path.re_replace("[^/]*$", ""))
    opens = opens.join(breaks_before(opens, calls.filter(~stays.fill_null(False)), "image"), "seq")
    nth = ibis.row_number().over(ordered("image", "folder", "breaks"))
    return opens.mutate(nth=nth).filter(_.nth >= ASKED - 1).select("seq", listed=ibis.literal(True))

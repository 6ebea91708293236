"""Every directory above a path is examined, one after the other.

Why it costs
    Resolving a/b/c by lstat of a, a/b and a/b/c walks the path three times; the kernel does it in one go.

Rewritten by
    No rule: `cache_stat` answers for regular files only.

Gives up
    A kept answer misses a link that another program puts in the way.

How it is found
    lstat or readlink of a path that continues the path asked just before by one name, in chains of three or more,
    where the same process asked the shorter path already.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import Tables, ordered

SLUG = "prefix_lstats"
CALLS = ("lstat", "newfstatat", "readlink", "readlinkat", "statx")
KIND = "redundant"
RULE = None
LAYER = ("library's realpath",)
ADVICE = "resolve a directory once and keep it open (openat, openat2 with RESOLVE_NO_SYMLINKS)"
BEFORE = {"lstat": "calls"}
AFTER = {"answered": "calls"}


def _walk(leaf: str) -> str:
    paths = ("/srv", "/srv/a", "/srv/a/b", f"/srv/a/b/{leaf}")
    return "".join(f'lstat("{path}", {{st_mode=S_IFDIR|0755, st_size=9, ...}}) = 0\n' for path in paths)


FIRES = {"two files of one folder": _walk("x") + _walk("y")}
SILENT = {
    "once": _walk("x"),
    "one folder's files": "".join(
        f'lstat("/srv/{n}", {{st_mode=S_IFREG|0644, st_size=9, ...}}) = 0\n' for n in range(9)
    ),
    "going down": """
        lstat("a", {st_mode=S_IFDIR|0755, st_size=9, ...}) = 0
        lstat("a/b", {st_mode=S_IFREG|0755, st_size=9, ...}) = 0
    """,
}


def find(t: Tables) -> Any:
    """One row an examination of a prefix that was examined before."""
    import ibis
    from ibis import _

    asked = t.lookups.filter(_.name.isin(CALLS))
    here = ordered("image")
    asked = asked.mutate(shorter=_.path.lag().over(here), longer=_.path.lead().over(here))
    asked = asked.mutate(
        goes_on=_.longer.startswith(_.path.concat("/")).fill_null(False),
        came=_.path.startswith(_.shorter.concat("/")).fill_null(False),
        times=ibis.row_number().over(ordered("image", "path")),
    )
    asked = asked.mutate(in_chain=_.goes_on & (_.came | _.goes_on.lead().over(here).fill_null(False)))
    return instances(asked.filter(_.in_chain, _.times > 0), _.path)

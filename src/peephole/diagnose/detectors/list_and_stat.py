"""A directory is listed, and each of its entries is examined.

Why it costs
    getdents already tells what kind of file each entry is (d_type). A stat of each costs a walk of the path; cold,
    a read of its inode from the disk.

Rewritten by
    No rule: what the program wants of the stat is not in the capture.

Gives up
    Nothing, where only the kind is wanted; sizes and times are not in d_type.

How it is found
    Examinations of paths directly below a directory that the same process listed, or relative to its descriptor.
    Whether the kind alone would have done can't be seen: the saving may be nothing.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import Tables

SLUG = "list_and_stat"
CALLS = ("stat", "lstat", "newfstatat", "statx")
KIND = "dead"
RULE = None
LAYER = ("library's fts or os.walk", "program")
ADVICE = (
    "where only the kind of file is wanted take d_type (find -type, os.scandir); "
    "git: core.untrackedCache, core.fsmonitor"
)
BEFORE = {"lstat": "calls"}
AFTER: dict[str, str] = {}

_LIST = 'openat(AT_FDCWD, "src", O_RDONLY|O_DIRECTORY) = 3\ngetdents64(3, 0x5500, 32768) = 72\n'
_STAT = 'lstat("src/{0}", {{st_mode=S_IFREG|0644, st_size=9, ...}}) = 0\n'
FIRES = {
    "by name": _LIST + "".join(_STAT.format(name) for name in "abc"),
    "by descriptor": _LIST + 'newfstatat(3, "a", {st_mode=S_IFREG|0644, st_size=9, ...}, AT_SYMLINK_NOFOLLOW) = 0',
}
SILENT = {
    "not listed": "".join(_STAT.format(name) for name in "abc"),
    "elsewhere": _LIST + 'lstat("lib/a", {st_mode=S_IFREG|0644, st_size=9, ...}) = 0',
    "not there": _LIST + 'lstat("src/a", 0x7ffd) = -1 ENOENT (No such file or directory)',
}


def find(t: Tables) -> Any:
    """One row an examination."""
    import ibis
    from ibis import _

    listed = t.calls.filter(_.name.isin(("getdents", "getdents64")), _.ret > 0, _.ofd.notnull())
    listed = listed.select("image", "ofd").distinct().join(t.opens.select("ofd", "path", "fd", opened="seq"), "ofd")
    by_name = listed.group_by("image", parent=_.path.re_replace("/+$", "")).aggregate(since=_.opened.min())
    by_fd = listed.group_by("image", "fd").aggregate(since=_.opened.min(), directory=_.path.min())
    asked = t.lookups.filter(_.name.isin(CALLS), _.ret == 0).mutate(parent=_.path.re_replace("/[^/]*$", ""))
    named = asked.filter(_.path.contains("/")).join(by_name, ["image", "parent"]).filter(_.since < _.seq)
    relative = asked.filter(~_.path.contains("/")).join(by_fd, [asked.image == by_fd.image, asked["at"] == by_fd.fd])
    relative = relative.filter(_.since < _.seq)
    both = named.select("image", "seq", "ns", object=_.parent.concat("/")).union(
        relative.select("image", "seq", "ns", object=_.directory.concat("/"))
    )
    return instances(both, ibis.coalesce(_.object, ibis.literal("a directory")), certainty=1)

"""A path is examined again, and nothing has changed since.

Why it costs
    stat, access and readlink walk the path each time: one to three microseconds, several times that when it is deep.

Rewritten by
    `cache_stat`, where a regular file is named from the working folder by newfstatat, as `git` and Python do. Programs
    can keep the answer, or keep the file open and ask the descriptor.

Gives up
    A kept answer misses what other programs change in the meantime.

How it is found
    The same process asks the same path with the same call and gets the same result, and no call in the captured
    processes could have changed it in between: none that names the path, renames, links, mounts or changes the
    directory. Paths that are opened for writing anywhere in the capture are left out.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import Tables, ordered, so_far

SLUG = "repeated_stat"
CALLS = ("stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat")
KIND = "redundant"
RULE = "cache_stat"
LEFT_ALONE = "it answers only for regular files, named from the working folder"
LAYER = ("library", "program")
ADVICE = "keep the answer while nothing can have changed it, or keep the file open and use fstat"
BEFORE = {"stat": "calls"}
AFTER = {"answered": "calls"}

_AT_FDCWD = (-100, 2**32 - 100)
#: after these, any path may name something else
_ANY = (
    "chdir",
    "fchdir",
    "chroot",
    "mount",
    "umount2",
    "pivot_root",
    "setns",
    "unshare",
    "rename",
    "renameat",
    "renameat2",
)
#: these change what they name
_NAMED = (
    *("unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "mknod", "mknodat", "link", "linkat", "symlink", "symlinkat"),
    *("chmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchownat", "utime", "utimes", "utimensat", "truncate"),
    *("setxattr", "lsetxattr", "removexattr", "lremovexattr"),
)

_ONE = '\n        stat("/etc/localtime", {st_mode=S_IFREG|0644, st_size=114, ...}) = 0'
_NONE = '\n        access("/etc/ld.so.preload", R_OK) = -1 ENOENT (No such file or directory)'
FIRES = {"a clock's file": _ONE * 3, "a file that is not there": _NONE * 3}
SILENT = {
    "different paths": """
        stat("a", {st_mode=S_IFREG|0644, st_size=1, ...}) = 0
        stat("b", {st_mode=S_IFREG|0644, st_size=1, ...}) = 0
    """,
    "changed in between": _ONE + '\n        chmod("/etc/localtime", 0600) = 0' + _ONE,
    "another directory": """
        stat("a", {st_mode=S_IFREG|0644, st_size=1, ...}) = 0
        chdir("/elsewhere") = 0
        stat("a", {st_mode=S_IFREG|0644, st_size=1, ...}) = 0
    """,
    "another result": _NONE + '\n        access("/etc/ld.so.preload", R_OK) = 0',
    "written elsewhere": _ONE + '\n        open("/etc/localtime", O_RDWR) = 3\n        write(3, "x", 1) = 1' + _ONE,
}


def find(t: Tables) -> Any:
    """One row an examination that repeats the one before."""
    import ibis
    from ibis import _

    changing = t.calls.filter(_.ret >= 0, _.name.isin((*_ANY, *_NAMED)), _.path.notnull() | _.name.isin(_ANY))
    anywhere = changing.filter(_.name.isin(_ANY)).select(
        "seq", asked=ibis.literal(False), image=ibis.null("int64"), path=ibis.null("string")
    )
    there = changing.filter(_.name.isin(_NAMED)).select("path", "seq", changed=_.seq)
    second = changing.filter(_.name.isin(_NAMED), _.path2.notnull()).select("seq", path=_.path2, changed=_.seq)
    written = t.opens.filter((_.flags & 3) != 0).select("path").distinct()
    asked = t.lookups.anti_join(written, "path")
    # The last change of anything, and the last change of this path, before each question.
    epochs = asked.select("seq", "image", "path", asked=ibis.literal(True))
    moved = epochs.union(anywhere.select("seq", "image", "path", "asked")).mutate(
        epoch=(~_.asked).cast("int64").sum().over(so_far())
    )
    touched = asked.select("seq", "path", changed=ibis.null("int64"))
    touched = touched.union(there.select("seq", "path", "changed")).union(second.select("seq", "path", "changed"))
    touched = touched.mutate(changed=_.changed.max().over(so_far("path")))
    asked = asked.join(moved.filter(_.asked).select("seq", "epoch"), "seq")
    asked = asked.join(touched.select("seq", "changed"), "seq").mutate(changed=_.changed.fill_null(-1))
    after = ordered("image", "name", "at", "path")
    same = ibis.and_(*[(column == column.lag().over(after)).fill_null(False) for column in (_.ret, _.epoch, _.changed)])
    again = asked.mutate(same=same, begin_ns=_.ns.lag().over(after)).filter(_.same)
    answered = (_.name == "newfstatat") & (_.ret == 0) & _.at.isin(_AT_FDCWD) & ~_.path.startswith("/")
    return instances(again, _.path, begin_ns=_.begin_ns, end_ns=_.ns, handled=answered)

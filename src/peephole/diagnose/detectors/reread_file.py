"""A small file is opened and read again and again, and has not changed.

Why it costs
    Open, read and close of a cached file cost several microseconds; a stat that shows it is the same costs one.

Rewritten by
    No rule yet.

Gives up
    In the program: a change within the clock's grain is seen later.

How it is found
    One process opens the same file of at most 64 KB for reading three times or more, and no captured process opens it
    for writing.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import Tables, ordered

SLUG = "reread_file"
CALLS = ("open", "openat")
KIND = "redundant"
RULE = None
LAYER = ("program", "library")
ADVICE = "keep the content and ask with stat whether it is still that (glibc: nscd or a cache of getpwnam's answers)"
BEFORE = {"open_close": "calls", "pread_4096": "calls"}
AFTER = {"stat": "calls"}

SMALL_BYTES = 65536
TIMES = 3

_READ = """
        openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3
        fstat(3, {st_mode=S_IFREG|0644, st_size=1200, ...}) = 0
        read(3, "root"..., 4096) = 1200
        read(3, "", 4096) = 0
        close(3) = 0
"""
FIRES = {"getpwnam": _READ * 4}
SILENT = {
    "twice": _READ * 2,
    "written meanwhile": _READ * 2 + 'open("/etc/passwd", O_WRONLY) = 3\nclose(3) = 0' + _READ * 2,
    "not read": 'openat(AT_FDCWD, "/lock", O_RDONLY) = 3\nclose(3) = 0\n' * 4,
    "large": _READ.replace("1200", "120000") * 4,
    "of the kernel": _READ.replace("/etc/passwd", "/proc/stat") * 4,
}


def find(t: Tables) -> Any:
    """One row a reading after the first."""
    from ibis import _

    got = t.reads.filter(_.ret > 0).group_by("ofd").aggregate(got=_.ret.sum(), end_ns=_.ns.max())
    opened = t.opens.filter(_.regular, (_.flags & 3) == 0, _.file.notnull()).join(got, "ofd")
    opened = opened.anti_join(t.opens.filter((_.flags & 3) != 0).select("file").distinct(), "file")
    opened = opened.left_join(t.spans.select("ofd", "largest"), "ofd").drop("ofd_right")
    small = (_.got <= SMALL_BYTES) & (_.largest.fill_null(0) <= SMALL_BYTES) & ~_.path.startswith("/proc/")
    here = ordered("image", "file")
    import ibis

    opened = opened.filter(small).mutate(nth=ibis.row_number().over(here), since_ns=_.ns.lag().over(here))
    return instances(opened.filter(_.nth >= TIMES - 1), _.path, bytes=_.got, begin_ns=_.since_ns, end_ns=_.end_ns)

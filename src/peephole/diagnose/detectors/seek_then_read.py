"""A file is positioned by one call, and read or written by the next.

Why it costs
    pread and pwrite do both in one entry of the kernel.

Rewritten by
    No rule: the position that the description would be left at may matter later.

Gives up
    In the program: nothing.

How it is found
    lseek that moves, directly followed in its thread by read or write of the same description.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import described, instances
from peephole.diagnose.tables import Tables, numbers

SLUG = "seek_then_read"
CALLS = ("lseek",)
KIND = "crossing"
RULE = None
LAYER = ("standard library's fseek", "program")
ADVICE = "use pread and pwrite"
BEFORE = {"lseek": "calls"}
AFTER: dict[str, str] = {}

SEEK_CUR = 1

_OPEN = 'openat(AT_FDCWD, "a", O_RDWR) = 3\n'
FIRES = {"a record": _OPEN + 'lseek(3, 8192, SEEK_SET) = 8192\nread(3, "x"..., 100) = 100\n'}
SILENT = {
    "only asked": _OPEN + 'lseek(3, 0, SEEK_CUR) = 0\nread(3, "x"..., 100) = 100\n',
    "another file": _OPEN + 'open("b", O_RDONLY) = 4\nlseek(3, 8, SEEK_SET) = 8\nread(4, "x"..., 100) = 100\n',
    "not at once": _OPEN + 'lseek(3, 8, SEEK_SET) = 8\ngetpid() = 7\nread(3, "x"..., 100) = 100\n',
    "by position": _OPEN + 'pread64(3, "x"..., 100, 8192) = 100\n',
}


def find(t: Tables) -> Any:
    """One row a seek."""
    from ibis import _

    pairs = t.steps.filter(_.before.isin(numbers("lseek")), _.before_ret >= 0, _.nr.isin(numbers("read", "write")))
    pairs = pairs.filter(_.before_ofd == _.ofd).select(seq=_.before_seq)
    seeks = t.calls.filter(_.name == "lseek", ~((_.a2 == SEEK_CUR) & (_.a1 == 0))).semi_join(pairs, "seq")
    return instances(described(t, seeks), _.object)

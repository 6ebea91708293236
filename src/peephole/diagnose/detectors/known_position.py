"""A descriptor's position is asked for, or set to what it is.

Why it costs
    The calls before it already told the position; lseek enters the kernel for nothing.

Rewritten by
    `shadow_descriptor`: the position is followed in the process and the call answered.

Gives up
    Nothing, while no other process shares the description.

How it is found
    lseek(fd, 0, SEEK_CUR) that succeeds on a regular file, or a seek to where the description stands.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import described, instances
from peephole.diagnose.tables import Tables, ordered

SLUG = "known_position"
CALLS = ("lseek",)
KIND = "dead"
RULE = "shadow_descriptor"
LAYER = ("standard library",)
ADVICE = "keep the position in the program, or use pread and pwrite"
BEFORE = {"lseek": "calls"}
AFTER = {"shadow_descriptor:lseek": "calls"}

SEEK_SET, SEEK_CUR = 0, 1

_OPEN = 'openat(AT_FDCWD, "a", O_RDWR) = 3\n'
FIRES = {
    "tell": _OPEN + "lseek(3, 0, SEEK_CUR) = 0\n",
    "to where it is": _OPEN + 'read(3, "x"..., 100) = 100\nlseek(3, 100, SEEK_SET) = 100\n',
}
SILENT = {
    "elsewhere": _OPEN + 'read(3, "x"..., 100) = 100\nlseek(3, 0, SEEK_SET) = 0\n',
    "to the end": _OPEN + "lseek(3, 0, SEEK_END) = 900\n",
    "on a pipe": "lseek(0, 0, SEEK_CUR) = -1 ESPIPE (Illegal seek)\n",
}


def find(t: Tables) -> Any:
    """One row a seek."""
    from ibis import _

    # Positional calls leave the position alone, and their rows say what it is.
    moving = t.calls.filter(_.ofd.notnull(), _.offset.notnull())
    seeking = moving.filter(_.name == "lseek").filter(_.regular).select("ofd").distinct()
    moving = moving.semi_join(seeking, "ofd").select(
        "image", "seq", "ns", "ofd", "dev", "a1", "a2", "ret", "offset", seeks=_.name == "lseek"
    )
    moving = moving.mutate(stood=_.offset.lag().over(ordered("ofd")))
    there = ((_.a2 == SEEK_SET) & (_.a1 == _.stood)).fill_null(False)
    asked = moving.filter(_.seeks, _.ret >= 0, ((_.a2 == SEEK_CUR) & (_.a1 == 0)) | there)
    asked = described(t, asked)
    return instances(asked, _.object, handled=_.own)

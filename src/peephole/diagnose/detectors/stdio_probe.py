"""A file that was just opened is asked what it is.

Why it costs
    Standard libraries ask for its size and whether it is a terminal, to choose their buffer: one or two entries of the
    kernel for each file.

Rewritten by
    `shadow_descriptor`: what the open told answers whether it is a terminal.

Gives up
    Nothing, while no other process shares the description.

How it is found
    ioctl(TCGETS) that fails with ENOTTY on a regular file; and a second fstat of a file, with nothing between.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import described, instances
from peephole.diagnose.tables import Tables, ordered

SLUG = "stdio_probe"
CALLS = ("ioctl", "fstat", "newfstatat")
KIND = "redundant"
RULE = "shadow_descriptor"
LEFT_ALONE = "it answers only whether a file that this process has opened is a terminal"
LAYER = ("standard library",)
ADVICE = "give the library a buffer of your own (setvbuf, buffering=), or read the file without it"
BEFORE = {"ioctl_tcgets": "calls"}
AFTER = {"shadow_descriptor:ioctl_tcgets": "calls"}

TCGETS, ENOTTY = 0x5401, -25

_OPEN = 'openat(AT_FDCWD, "a", O_RDONLY) = 3\n'
_FSTAT = "fstat(3, {st_mode=S_IFREG|0644, st_size=1200, ...}) = 0\n"
FIRES = {
    "is it a terminal": _OPEN + "ioctl(3, TCGETS, 0x7ffd) = -1 ENOTTY (Inappropriate ioctl for device)\n",
    "asked twice": _OPEN + _FSTAT * 2,
}
SILENT = {
    "asked once": _OPEN + _FSTAT,
    "read between": _OPEN + _FSTAT + 'read(3, "x"..., 10) = 10\n' + _FSTAT,
    "a terminal": 'openat(AT_FDCWD, "/dev/tty", O_RDWR) = 3\nioctl(3, TCGETS, {c_iflag=ICRNL, ...}) = 0\n',
}


def find(t: Tables) -> Any:
    """One row a question."""
    from ibis import _

    asked = t.calls.filter(_.ofd.notnull())
    stat = (_.name == "fstat") | ((_.name == "newfstatat") & (_.path.fill_null("") == ""))
    candidates = asked.filter(_.name.isin(CALLS)).filter(_.regular).select("ofd").distinct()
    terminal = (_.name == "ioctl") & (_.a1 == TCGETS) & (_.ret == ENOTTY)
    asked = asked.semi_join(candidates, "ofd").select(
        "image", "seq", "ns", "ofd", "dev", stat=stat & (_.ret == 0), terminal=terminal
    )
    again = _.stat & _.stat.lag().over(ordered("ofd")).fill_null(False)
    asked = described(t, asked.mutate(again=again).filter(_.again | _.terminal))
    return instances(asked, _.object, handled=_.own & _.terminal)

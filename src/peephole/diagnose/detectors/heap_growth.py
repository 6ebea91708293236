"""The heap grows by a page at a time.

Why it costs
    malloc's arenas of other threads than the first make 4 KB usable with each mprotect; the first one grows by
    M_TOP_PAD with brk, and shrinks and grows again around a peak.

Rewritten by
    No rule: malloc has switches.

Gives up
    Resident memory.

How it is found
    mprotect that makes the pages behind the last such call writable, 64 KB or less at a time; and brk that grows by
    less than 1 MB.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import Tables, ordered

SLUG = "heap_growth"
CALLS = ("mprotect", "brk")
KIND = "crossing"
RULE = None
LAYER = ("C library's malloc",)
ADVICE = (
    "set MALLOC_TOP_PAD_=16777216 and MALLOC_TRIM_THRESHOLD_=268435456 in the environment "
    "(MALLOC_ARENA_MAX=1 for threads)"
)
BEFORE = {"heap_grow": "calls"}
AFTER: dict[str, str] = {}

_LARGE = 1 << 20
_STEP = 65536


def _grow(n: int) -> str:
    return "".join(f"mprotect({0x7F0000021000 + 4096 * i:#x}, 4096, PROT_READ|PROT_WRITE) = 0\n" for i in range(n))


FIRES = {
    "an arena": _grow(20),
    "the first heap": "brk(NULL) = 0x1000000\n"
    + "".join(f"brk({0x1000000 + 135168 * n:#x}) = {0x1000000 + 135168 * n:#x}\n" for n in range(1, 9)),
}
SILENT = {
    "a library's pages": """
        mprotect(0x7f0000021000, 4096, PROT_READ) = 0
        mprotect(0x7f0000022000, 4096, PROT_READ) = 0
    """,
    "at start": "brk(NULL) = 0x1000000\nbrk(NULL) = 0x1000000\n",
}


def find(t: Tables) -> Any:
    """One row a step."""
    import ibis
    from ibis import _

    steps = t.calls.filter(_.name.isin(CALLS), _.ret >= 0)
    steps = steps.select("image", "seq", "ns", "name", "a0", "a1", "a2", "ret")
    # Where the next step would begin: each heap grows in an order of its own.
    begin = ibis.ifelse(_.name == "mprotect", _.a0, ibis.literal(0, "int64"))
    end = ibis.ifelse(_.name == "mprotect", _.a0 + _.a1, _.ret)
    steps = steps.mutate(begin=begin, end=end)
    page = steps.filter(_.name == "mprotect", _.a1 <= _STEP, (_.a2 & 2) != 0)
    ends = page.select("image", "seq", "ns", at=_.end, step=ibis.literal(False))
    begins = page.select("image", "seq", "ns", at=_.begin, step=ibis.literal(True))
    # The end of one step comes before the begin of the next one in the order of calls.
    both = ends.union(begins).mutate(after=(~_.step).lag().over(ordered("image", "at")))
    pages = both.filter(_.step, _.after.fill_null(False)).select(
        "image", "seq", "ns", object=ibis.literal("an arena of malloc")
    )
    brk = steps.filter(_.name == "brk")
    brk = brk.mutate(more=_.ret - _.ret.lag().over(ordered("image")))
    brk = brk.filter(_.more > 0, _.more < _LARGE).select("image", "seq", "ns", object=ibis.literal("the first heap"))
    return instances(pages.union(brk), _.object)

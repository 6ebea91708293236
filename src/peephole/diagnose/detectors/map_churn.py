"""Large buffers are mapped and unmapped again and again.

Why it costs
    malloc maps each buffer of 128 KB and more by itself, and unmaps it when it is freed: all its pages are faulted in
    and cleared anew each time.

Rewritten by
    No rule: malloc has switches.

Gives up
    Resident memory.

How it is found
    Anonymous private mappings of 128 KB to 32 MB that the same process unmaps again at the same address and size.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import Tables, ordered

SLUG = "map_churn"
CALLS = ("mmap",)
KIND = "crossing"
RULE = None
LAYER = ("C library's malloc",)
ADVICE = (
    "set MALLOC_MMAP_THRESHOLD_=67108864 and MALLOC_TRIM_THRESHOLD_=268435456 in the environment, or keep the buffer"
)
BEFORE = {"map_anonymous_131072": "pieces"}
AFTER: dict[str, str] = {}

LEAST_BYTES, MOST_BYTES = 131072, 32 << 20
MAP_ANONYMOUS = 0x20

_PAIR = """
        mmap(NULL, 139264, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0000000000
        munmap(0x7f0000000000, 139264) = 0
"""
FIRES = {"a buffer for each file": _PAIR * 4}
SILENT = {
    "kept": _PAIR.replace("munmap(0x7f0000000000, 139264) = 0", ""),
    "a stack": _PAIR.replace("MAP_ANONYMOUS", "MAP_ANONYMOUS|MAP_STACK") * 4,
    "small": _PAIR.replace("139264", "8192") * 4,
}
MAP_STACK, MAP_NORESERVE = 0x20000, 0x4000


def find(t: Tables) -> Any:
    """One row a mapping and its end."""
    import ibis
    from ibis import _

    kept = MAP_STACK | MAP_NORESERVE
    mapped = t.calls.filter(_.name == "mmap", (_.a3 & MAP_ANONYMOUS) != 0, (_.a3 & kept) == 0, _.ret > 0, _.a2 == 3)
    mapped = mapped.filter(_.a1 >= LEAST_BYTES, _.a1 <= MOST_BYTES)
    mapped = mapped.select("image", "seq", "ns", address=_.ret, size=_.a1, mapped=ibis.literal(True))
    gone = t.calls.filter(_.name == "munmap", _.ret == 0).select(
        "image", "seq", "ns", address=_.a0, size=_.a1, mapped=ibis.literal(False)
    )
    here = ordered("image", "address")
    both = mapped.union(gone).mutate(
        then=_.mapped.lead().over(here), until=_.size.lead().over(here), end_ns=_.ns.lead().over(here)
    )
    pairs = both.filter(_.mapped, (~_.then).fill_null(False), _.until == _.size)
    # Not every page of a large one is touched: its first 128 KB are what is certain.
    return instances(pairs, "memory", calls=2, bytes=_.size, end_ns=_.end_ns, pieces=1)

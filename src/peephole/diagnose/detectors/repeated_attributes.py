"""A file's mode or owner is set to what it already is.

Why it costs
    Each change, though it changes nothing, dirties the inode and goes through the journal.

Rewritten by
    No rule yet.

Gives up
    The file's ctime would stay what it was.

How it is found
    chmod or chown of a file to the same values as the last such call on it in the capture.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import Tables, ordered

SLUG = "repeated_attributes"
CALLS = ("chmod", "fchmod", "fchmodat", "chown", "lchown", "fchown", "fchownat")
KIND = "dead"
RULE = None
LAYER = ("program",)
ADVICE = "ask with fstat first, and set only what differs"
BEFORE = {"chmod": "calls"}
AFTER = {"stat": "calls"}

_CHMOD = 'chmod("a", 0644) = 0\n'
FIRES = {"chmod": _CHMOD * 3, "chown": 'chown("a", 0, 0) = 0\n' * 2}
SILENT = {
    "another mode": _CHMOD + 'chmod("a", 0600) = 0\n' + _CHMOD,
    "another file": _CHMOD + 'chmod("b", 0644) = 0\n',
    "written again": _CHMOD + 'unlink("a") = 0\n' + _CHMOD,
    "failed": 'chmod("a", 0644) = -1 EPERM (Operation not permitted)\n' * 3,
}


def find(t: Tables) -> Any:
    """One row a change that changes nothing."""
    import ibis
    from ibis import _

    ends = ("unlink", "unlinkat", "rename", "renameat", "renameat2")
    made = t.calls.filter(_.name.isin((*CALLS, *ends)), _.ret == 0)
    made = made.mutate(
        object=ibis.coalesce(_.path.nullif(""), _.file),
        # The values follow the file, and the *at calls name a directory before it.
        first=ibis.cases((_.name.isin(("fchmodat", "fchownat")), _.a2), else_=_.a1),
        second=ibis.cases((_.name == "fchownat", _.a3), (_.name.contains("chown"), _.a2), else_=ibis.literal(0)),
        kind=ibis.cases((_.name.contains("chmod"), 1), (_.name.contains("chown"), 2), else_=0),
    ).filter(_.object.notnull())
    after = ordered("object")
    same = [(_[name] == _[name].lag().over(after)).fill_null(False) for name in ("first", "second", "kind")]
    made = made.mutate(same=ibis.and_(*same), since_ns=_.ns.lag().over(after))
    return instances(made.filter(_.same, _.kind > 0), _.object, begin_ns=_.since_ns, end_ns=_.ns)

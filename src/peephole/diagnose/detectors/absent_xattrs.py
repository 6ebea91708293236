"""Extended attributes are asked for, file after file, and there are none.

Why it costs
    Each getxattr walks the path and asks the file system; on most of them no file has any. `ls -l` asks up to four
    times for each file.

Rewritten by
    `absent_xattr`: where another program of the same command was told ENODATA before, and the file has not changed
    since, the answer is ENODATA. The program has to have looked at the file by statx just before, as `ls -l` does.

Gives up
    freshness: an attribute that another program sets between the look at the file and the question is not seen.

How it is found
    getxattr, lgetxattr, fgetxattr or their lists, failing with ENODATA or EOPNOTSUPP, or listing nothing. Prices are
    of a question with its share of the look before it.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import Tables, ordered

SLUG = "absent_xattrs"
CALLS = ("getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr", "getxattrat", "listxattrat")
KIND = "dead"
RULE = "absent_xattr"
LEFT_ALONE = "it answers only what another program of the same command was told of the same path before"
LAYER = ("library (libacl, libselinux, libcap)",)
ADVICE = "do not ask for what the file system does not keep (ls --color without ca= entries, cp --no-preserve=xattr)"
BEFORE = {"getxattr_looked": "calls"}
AFTER = {"absent_xattr:getxattr_looked": "calls"}

ENODATA, EOPNOTSUPP = -61, -95

_NONE = 'lgetxattr("{0}", "security.capability", 0x7ffd, 255) = -1 ENODATA (No data available)\n'
FIRES = {
    "a listing": "".join(_NONE.format(name) for name in "abcd"),
    "not kept at all": 'getxattr("a", "system.posix_acl_access", NULL, 0) = -1 EOPNOTSUPP (Operation not supported)\n',
    "lists": 'llistxattr("a", 0x7ffd, 255) = 0\n',
}
SILENT = {
    "there": 'getxattr("a", "user.mime", "text", 255) = 4\n',
    "no such file": 'getxattr("a", "user.mime", 0x7ffd, 255) = -1 ENOENT (No such file or directory)\n',
}


def find(t: Tables) -> Any:
    """One row a question."""
    import ibis
    from ibis import _

    nothing = _.ret.isin((ENODATA, EOPNOTSUPP)) | (_.name.contains("list") & (_.ret == 0))
    asked = t.calls.filter(_.name.isin(CALLS), nothing)
    # Of a folder `ls` asks by one call for two attributes: only what another program asked has been answered before.
    asked = asked.mutate(first=_.image.first().over(ordered("path", "name")))
    answered = _.path.notnull() & _.name.isin(("getxattr", "lgetxattr")) & (_.ret == ENODATA) & (_.first != _.image)
    return instances(asked, ibis.coalesce(_.path, ibis.literal("open files")), handled=answered)

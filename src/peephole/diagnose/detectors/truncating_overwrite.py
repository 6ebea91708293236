"""A file is emptied by O_TRUNC only to be filled again.

Why it costs
    open(O_TRUNC) of a file that holds data frees its blocks, through the journal where there is one, and the writes
    that follow allocate them again. On ext4 the close then also starts writeback of the new blocks (auto_da_alloc).
    Overwriting in place touches neither: 4 to 27 times cheaper on ext4, 2 to 4 times on tmpfs.

Rewritten by
    `truncate_in_place`: the file is opened without O_TRUNC and cut to what was written when it is closed.

Gives up
    Between open and close others see the old tail instead of a shorter file; a crash in between can leave old bytes
    behind the new ones. `peephole prove truncate_in_place` tells the whole story.

How it is found
    An open(O_TRUNC) for writing of a regular file, filled again through that description. That the file held data is
    certain when its size was seen before (a stat, or an earlier write) and its name was not removed since; likely when
    it existed (opened without O_CREAT, or examined before); otherwise only possible, and counts in the upper bound
    alone.
"""

from __future__ import annotations

from typing import Any

from peephole.diagnose.instances import instances
from peephole.diagnose.tables import O_CREAT, O_TRUNC, Tables, ordered

SLUG = "truncating_overwrite"
CALLS = ("open", "openat", "creat")
KIND = "guarantee"
RULE = "truncate_in_place"
LAYER = ("file system",)
ADVICE = "open without O_TRUNC, write, and cut the file with ftruncate at the end"
BEFORE = {"overwrite_call": "first", "overwrite_byte": "more", "overwrite_again_4096": "again"}
AFTER = {f"truncate_in_place:{price}": count for price, count in BEFORE.items()}

FIRES = {
    "cp over an existing copy": """
        newfstatat(AT_FDCWD, "dst/f", {st_mode=S_IFREG|0644, st_size=7, ...}, 0) = 0
        openat(AT_FDCWD, "src/f", O_RDONLY|O_NOFOLLOW) = 3
        openat(AT_FDCWD, "dst/f", O_WRONLY|O_TRUNC) = 4
        ioctl(4, BTRFS_IOC_CLONE or FICLONE, 3) = -1 EOPNOTSUPP (Operation not supported)
        newfstatat(4, "", {st_mode=S_IFREG|0644, st_size=0, ...}, AT_EMPTY_PATH) = 0
        copy_file_range(3, NULL, 4, NULL, 9223372035781033984, 0) = 7
        copy_file_range(3, NULL, 4, NULL, 9223372035781033984, 0) = 0
        close(4) = 0
        close(3) = 0
    """,
    "the same file again and again": """
        open("/data/out", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3
        write(3, "aaaa"..., 16384) = 16384
        close(3) = 0
        open("/data/out", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3
        write(3, "aaaa"..., 16384) = 16384
        close(3) = 0
    """,
    "through another number": """
        stat("log", {st_mode=S_IFREG|0644, st_size=90, ...}) = 0
        creat("log", 0644) = 3
        dup2(3, 1) = 1
        close(3) = 0
        write(1, "new\\n", 4) = 4
        close(1) = 0
    """,
}
SILENT = {
    "a new file": """
        openat(AT_FDCWD, "new", O_WRONLY|O_CREAT|O_EXCL|O_TRUNC, 0666) = 3
        write(3, "x", 1) = 1
        close(3) = 0
    """,
    "an empty file": """
        stat("lock", {st_mode=S_IFREG|0644, st_size=0, ...}) = 0
        openat(AT_FDCWD, "lock", O_WRONLY|O_TRUNC) = 3
        write(3, "x", 1) = 1
        close(3) = 0
    """,
    "removed before it is made again": """
        open("/data/out", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3
        write(3, "aaaa"..., 16384) = 16384
        close(3) = 0
        unlink("/data/out") = 0
        open("/data/out", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3
        write(3, "aaaa"..., 16384) = 16384
        close(3) = 0
    """,
    "emptied and left empty": """
        stat("log", {st_mode=S_IFREG|0644, st_size=90, ...}) = 0
        openat(AT_FDCWD, "log", O_WRONLY|O_TRUNC) = 3
        close(3) = 0
    """,
    "not a file": """
        openat(AT_FDCWD, "/dev/null", O_WRONLY|O_TRUNC) = 3
        write(3, "x", 1) = 1
        close(3) = 0
        openat(AT_FDCWD, "/dev/null", O_WRONLY|O_TRUNC) = 3
        write(3, "x", 1) = 1
        close(3) = 0
    """,
    "kept, and appended to": """
        stat("log", {st_mode=S_IFREG|0644, st_size=90, ...}) = 0
        openat(AT_FDCWD, "log", O_WRONLY|O_APPEND) = 3
        write(3, "x", 1) = 1
        close(3) = 0
    """,
}


def find(t: Tables) -> Any:
    """One row an overwrite."""
    import ibis
    from ibis import _

    emptied = t.opens.filter(_.regular, (_.flags & O_TRUNC) != 0, (_.flags & 3).isin((1, 2)))
    emptied = emptied.join(t.spans, "ofd").filter((_.written > 0) | (_.copied_in > 0))
    emptied = emptied.left_join(t.filled, "seq").drop("seq_right")
    looked = t.lookups.filter(_.ret == 0).group_by("image", "path").aggregate(examined=_.seq.min())
    emptied = emptied.left_join(looked, ["image", "path"]).drop("image_right", "path_right")
    existed = ((_.flags & O_CREAT) == 0) | (_.examined < _.seq).fill_null(False)
    certainty = ibis.cases((_.before > 0, 2), (_.before == 0, -1), (existed, 1), else_=0)
    # What was written a moment ago is still on its way to the disk, and the truncation waits for it.
    again = (ibis.row_number().over(ordered("file")) > 0) & _.file.notnull()
    emptied = emptied.mutate(again=again.cast("int64"))
    return instances(
        emptied.mutate(certainty=certainty).filter(_.certainty >= 0),
        _.path,
        bytes=_.written + _.copied_in,
        begin_ns=ibis.coalesce(_.before_ns, _.begin_ns),
        end_ns=_.end_ns,
        certainty=_.certainty,
        handled=_.alone,
        first=1 - _.again,
        again=_.again,
        more=_.written + _.copied_in - 4096 * _.again,
    )

"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import (
    CRASH,
    DURABILITY,
    ERROR_TIMING,
    EXT4_ORDERED,
    O_PATH,
    WEAK,
    PerOpenFile,
    Rule,
    fd,
    flags,
    ok,
    path,
    result,
    word,
)

WINDOW = 10  # milliseconds


class SyncWindow(Rule):
    """Breaks ordering.

    The sync is remembered with the description: a write to another file, which does not settle it, overtakes it.
    """

    relaxes = {DURABILITY, ERROR_TIMING}
    relaxes_on = {EXT4_ORDERED: {CRASH}, WEAK: {CRASH}}

    class File(PerOpenFile):
        plain: bool
        late: bool

    def pending(k, f, fd: fd) -> bool:
        return f.late

    def settle(k, f, fd: fd) -> result:
        f.late = False
        r = k.fsync(fd)
        return r

    def openat(k, dir: fd, name: path, flags: flags, mode: word) -> result:
        k.settle_all()
        fd = k.forward()
        if not ok(fd) or flags & O_PATH:
            return fd
        f = k.file(fd)
        if f:
            f.plain = True
        return fd

    def fdatasync(k, f, fd: fd) -> result:
        age = k.sync_age(fd)
        if f.plain and age < WINDOW:
            f.late = True
            k.hit()
            return 0
        return k.forward()

    def fsync(k, f, fd: fd) -> result:
        age = k.sync_age(fd)
        if f.plain and age < WINDOW:
            f.late = True
            k.hit()
            return 0
        return k.forward()

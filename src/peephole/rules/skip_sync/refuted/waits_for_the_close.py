"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import (
    CRASH,
    DURABILITY,
    ERROR_TIMING,
    EXT4_ORDERED,
    O_PATH,
    ORDERING,
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


class SkipSync(Rule):
    """Breaks discipline: settle leaves something pending.

    The sync is remembered and never made.
    """

    relaxes = {DURABILITY, ORDERING, ERROR_TIMING}
    relaxes_on = {EXT4_ORDERED: {CRASH}, WEAK: {CRASH}}

    class File(PerOpenFile):
        scratch: bool
        owed: bool

    def pending(k, f, fd: fd) -> bool:
        return f.owed

    def settle(k, f, fd: fd) -> result:
        return 0

    def openat(k, dir: fd, name: path, flags: flags, mode: word) -> result:
        k.settle_all()
        fd = k.forward()
        if not ok(fd) or flags & O_PATH:
            return fd
        f = k.file(fd)
        if f:
            f.scratch = True
        return fd

    def fsync(k, f, fd: fd) -> result:
        if not f.scratch:
            return k.forward()
        f.owed = True
        k.hit()
        return 0

    def fdatasync(k, f, fd: fd) -> result:
        if not f.scratch:
            return k.forward()
        k.hit()
        return 0

"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import (
    CRASH,
    DURABILITY,
    ERROR_TIMING,
    EXT4_ORDERED,
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
    """Breaks results.

    fsync on a descriptor opened with O_PATH fails with EBADF.
    """

    relaxes = {DURABILITY, ERROR_TIMING}
    relaxes_on = {EXT4_ORDERED: {CRASH}, WEAK: {CRASH}}

    class File(PerOpenFile):
        plain: bool

    def pending(k, f, fd: fd) -> bool:
        return False

    def settle(k, f, fd: fd) -> result:
        return 0

    def openat(k, dir: fd, name: path, flags: flags, mode: word) -> result:
        k.settle_all()
        fd = k.forward()
        if not ok(fd):
            return fd
        f = k.file(fd)
        if f:
            f.plain = True
        return fd

    def fdatasync(k, f, fd: fd) -> result:
        age = k.sync_age(fd)
        if f.plain and age < WINDOW:
            r = k.owe(fd, WINDOW - age)
            if r > 0:
                k.hit()
                return 0
        return k.forward()

    def fsync(k, f, fd: fd) -> result:
        age = k.sync_age(fd)
        if f.plain and age < WINDOW:
            r = k.owe(fd, WINDOW - age)
            if r > 0:
                k.hit()
                return 0
        return k.forward()

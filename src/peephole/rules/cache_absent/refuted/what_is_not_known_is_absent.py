"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import (
    ENOENT,
    FRESHNESS,
    O_CREAT,
    Rule,
    fd,
    flags,
    path,
    result,
    word,
)


class CacheAbsent(Rule):
    """Breaks results.

    A name that is not known to be absent may be there.
    """

    relaxes = {FRESHNESS}

    def openat(k, dir: fd, name: path, flags: flags, mode: word) -> result:
        k.settle_all()
        if not flags & O_CREAT:
            absent = k.absent(dir, name)
            if absent == 0:
                k.hit()
                return -ENOENT
        fd = k.forward()
        return fd

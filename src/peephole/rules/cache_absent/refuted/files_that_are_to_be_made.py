"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import (
    ENOENT,
    FRESHNESS,
    Rule,
    fd,
    flags,
    path,
    result,
    word,
)


class CacheAbsent(Rule):
    """Breaks results.

    With O_CREAT the file is made.
    """

    relaxes = {FRESHNESS}

    def openat(k, dir: fd, name: path, flags: flags, mode: word) -> result:
        k.settle_all()
        absent = k.absent(dir, name)
        if absent == 1:
            k.hit()
            return -ENOENT
        fd = k.forward()
        return fd

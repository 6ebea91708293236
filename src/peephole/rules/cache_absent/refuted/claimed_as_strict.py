"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import (
    ENOENT,
    O_CREAT,
    Rule,
    fd,
    flags,
    path,
    result,
    word,
)


class CacheAbsent(Rule):
    """Breaks freshness.

    Another process may have made the file since the folder was listed.
    """

    relaxes = set()

    def openat(k, dir: fd, name: path, flags: flags, mode: word) -> result:
        k.settle_all()
        if not flags & O_CREAT:
            absent = k.absent(dir, name)
            if absent == 1:
                k.hit()
                return -ENOENT
        fd = k.forward()
        return fd

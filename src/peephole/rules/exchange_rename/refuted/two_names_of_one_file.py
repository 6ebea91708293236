"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import (
    ATOMICITY,
    CRASH,
    VISIBILITY,
    Rule,
    fd,
    ok,
    path,
    result,
)


class ExchangeRename(Rule):
    """Breaks contents.

    rename does nothing when both names are of one file; here one of them goes.
    """

    relaxes = {VISIBILITY, ATOMICITY, CRASH}

    def renameat(k, olddir: fd, old: path, newdir: fd, new: path) -> result:
        r = k.exchange(olddir, old, newdir, new)
        if ok(r):
            r = k.unlinkat(olddir, old)
            if ok(r):
                k.hit()
                return 0
            u = k.exchange(olddir, old, newdir, new)
            if not ok(u):
                return r
        r = k.forward()
        return r

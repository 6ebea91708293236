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

    The unlink fails, and the program is told that all is well.
    """

    relaxes = {VISIBILITY, ATOMICITY, CRASH}

    def renameat(k, olddir: fd, old: path, newdir: fd, new: path) -> result:
        plain = k.replaceable(olddir, old, newdir, new)
        if plain:
            r = k.exchange(olddir, old, newdir, new)
            if ok(r):
                r = k.unlinkat(olddir, old)
                k.hit()
                return 0
        r = k.forward()
        return r

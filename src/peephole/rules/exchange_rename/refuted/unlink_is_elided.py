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

    A file is said to be removed and is still there: an open without O_CREAT finds it.
    """

    relaxes = {VISIBILITY, ATOMICITY, CRASH}

    def unlink(k, name: path) -> result:
        k.hit()
        return 0

    def renameat(k, olddir: fd, old: path, newdir: fd, new: path) -> result:
        plain = k.replaceable(olddir, old, newdir, new)
        if plain:
            r = k.exchange(olddir, old, newdir, new)
            if ok(r):
                r = k.unlinkat(olddir, old)
                if ok(r):
                    k.hit()
                    return 0
                # As it was: then the kernel gives its own answer.
                u = k.exchange(olddir, old, newdir, new)
                if not ok(u):
                    return r
        r = k.forward()
        return r

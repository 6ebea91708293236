"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import ENOENT, FRESHNESS, TIMESTAMPS, Rule, buf, fd, path, result, word


class CacheStat(Rule):
    """Breaks results.

    The keeper knows of some files only.
    """

    relaxes = {FRESHNESS, TIMESTAMPS}

    def newfstatat(k, dir: fd, name: path, to: buf, flags: word) -> result:
        known = k.examined(dir, name, to, flags)
        if known == 0:
            k.hit()
            return -ENOENT
        r = k.forward()
        return r

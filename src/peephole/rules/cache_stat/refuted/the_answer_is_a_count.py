"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import FRESHNESS, TIMESTAMPS, Rule, buf, fd, path, result, word


class CacheStat(Rule):
    """Breaks results.

    That the file is known is not what the kernel would have said: it says 0.
    """

    relaxes = {FRESHNESS, TIMESTAMPS}

    def newfstatat(k, dir: fd, name: path, to: buf, flags: word) -> result:
        known = k.examined(dir, name, to, flags)
        if known == 1:
            k.hit()
            return known
        r = k.forward()
        return r

"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import FRESHNESS, Rule, buf, fd, path, result, word


class CacheStat(Rule):
    """Breaks timestamps.

    The file may have been read since it was examined, and the answer has the time of an earlier read.
    """

    relaxes = {FRESHNESS}

    def newfstatat(k, dir: fd, name: path, to: buf, flags: word) -> result:
        known = k.examined(dir, name, to, flags)
        if known == 1:
            k.hit()
            return 0
        r = k.forward()
        return r

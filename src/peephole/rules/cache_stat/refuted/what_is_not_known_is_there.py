"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import FRESHNESS, TIMESTAMPS, Rule, buf, fd, path, result, word


class CacheStat(Rule):
    """Breaks results.

    Of a file that is not known nothing was put into the program's memory, and it need not be there.
    """

    relaxes = {FRESHNESS, TIMESTAMPS}

    def newfstatat(k, dir: fd, name: path, to: buf, flags: word) -> result:
        known = k.examined(dir, name, to, flags)
        if known == 0:
            k.hit()
            return 0
        r = k.forward()
        return r

"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import TIMESTAMPS, Rule, buf, fd, path, result, word


class CacheStat(Rule):
    """Breaks freshness.

    Another process may have changed the file, and the keeper not have heard of it.
    """

    relaxes = {TIMESTAMPS}

    def newfstatat(k, dir: fd, name: path, to: buf, flags: word) -> result:
        known = k.examined(dir, name, to, flags)
        if known == 1:
            k.hit()
            return 0
        r = k.forward()
        return r

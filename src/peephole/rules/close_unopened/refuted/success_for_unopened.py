"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import (
    Rule,
    fd,
    result,
)


class CloseUnopened(Rule):
    """Breaks results.

    close of what is not open fails.
    """

    relaxes = set()

    def close(k, fd: fd) -> result:
        unopened = k.unopened(fd)
        if unopened == 1:
            k.hit()
            return 0
        return k.forward()

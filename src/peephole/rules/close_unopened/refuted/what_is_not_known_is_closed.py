"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import (
    EBADF,
    Rule,
    fd,
    result,
)


class CloseUnopened(Rule):
    """Breaks results.

    What is not known to be closed may be open.
    """

    relaxes = set()

    def close(k, fd: fd) -> result:
        unopened = k.unopened(fd)
        if unopened == 0:
            k.hit()
            return -EBADF
        return k.forward()

"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import (
    Rule,
    buf,
    result,
    word,
)


class ShortPoll(Rule):
    """Breaks results.

    A sleep that a signal ends is answered as slept to its end.
    """

    def nanosleep(k, request: buf, left: buf) -> result:
        times = k.in_a_row(request)
        if times > 1:
            k.hit()
            r = k.nap(request, times - 1)
            return r
        r = k.forward()
        return r

    def clock_nanosleep(k, clock: word, flags: word, request: buf, left: buf) -> result:
        times = k.in_a_row(request)
        if times > 1 and flags == 0:
            k.hit()
            k.nap(request, times - 1)
            return 0
        r = k.forward()
        return r

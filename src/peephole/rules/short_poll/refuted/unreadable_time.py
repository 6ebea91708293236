"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import (
    Rule,
    buf,
    result,
    word,
)


class ShortPoll(Rule):
    """Breaks results.

    A sleep whose time can't be read is answered as slept, where the kernel says EFAULT.
    """

    def nanosleep(k, request: buf, left: buf) -> result:
        times = k.in_a_row(request)
        if times != 1:
            k.hit()
            return 0
        r = k.forward()
        return r

    def clock_nanosleep(k, clock: word, flags: word, request: buf, left: buf) -> result:
        times = k.in_a_row(request)
        if times > 1 and flags == 0:
            k.hit()
            r = k.nap(request, times - 1)
            return r
        r = k.forward()
        return r

"""Notice earlier what a loop of equal sleeps waits for."""

from peephole.prove.vocabulary import (
    TIMING,
    Rule,
    buf,
    result,
    word,
)


class ShortPoll(Rule):
    """Notice earlier what a loop of equal sleeps waits for.

    A thread that sleeps the same while again and again, with no other call in between, looks at memory to see whether
    another thread is done; what happens early in a sleep it notices at the end. From the second sleep on this rule
    makes them short, and lets them grow back: 40 microseconds, 80, and so on up to what was asked. A sleep that limits
    a rate must not be shortened so; hence the consent. Sleeps until a time are left alone.
    """

    relaxes = {TIMING}

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
            r = k.nap(request, times - 1)
            return r
        r = k.forward()
        return r

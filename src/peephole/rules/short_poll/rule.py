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
    another thread is done; what happens early in a sleep it notices at the end. This rule makes such sleeps short, and
    lets them grow back: four of 20 microseconds, four of 40, and so on up to what was asked. Whether a first sleep
    begins such a row is not known; it is cut too (from 10 ms on, and where no signal handler could end it), but where
    the thread then makes any other call, it sleeps the rest before. So a loop that does something between its sleeps
    keeps its pace, and only looks at memory earlier than it meant to. One that counts its sleeps to limit a time ends
    too early; hence the consent. Sleeps until a time are left alone.
    """

    relaxes = {TIMING}

    def nanosleep(k, request: buf, left: buf) -> result:
        times = k.in_a_row(request)
        if times > 1:
            k.hit()
        if times > 0:
            r = k.nap(request, times - 1)
            return r
        r = k.forward()
        return r

    def clock_nanosleep(k, clock: word, flags: word, request: buf, left: buf) -> result:
        times = k.in_a_row(request)
        if times > 1 and flags == 0:
            k.hit()
        if times > 0 and flags == 0:
            r = k.nap(request, times - 1)
            return r
        r = k.forward()
        return r

"""Answer close where nothing is open."""

from peephole.prove.vocabulary import (
    EBADF,
    Rule,
    fd,
    result,
)


class CloseUnopened(Rule):
    """Answer close where nothing is open.

    Before it starts another program, or when it becomes a daemon, many a program closes every number up to the limit:
    thousands of calls that fail. After 32 closes of what may be closed, this rule looks up once what is open
    (/proc/self/fd), and answers the closes that follow at once, until the program makes any other call. It acts only
    while the program has one thread: another one might open something in between. close_range does all of it in one
    call, and is better where the program can be changed.

    Nothing is given up. Measured: a loop in C to 2 million numbers takes 0.28 of the CPU (on a busy machine), one in
    Python to a million 0.87 (on a quiet one), most of which is exceptions.
    """

    relaxes = set()

    def close(k, fd: fd) -> result:
        unopened = k.unopened(fd)
        if unopened == 1:
            k.hit()
            return -EBADF
        return k.forward()

"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import (
    ENOTTY,
    ESPIPE,
    RESOURCES,
    TCGETS,
    TIMING,
    PerPipe,
    Rule,
    buf,
    buffer,
    fd,
    num,
    ok,
    result,
    word,
)

SMALL = 64  # larger reads gain little


class PeekPipe(Rule):
    """Breaks results.

    All that was looked at is taken out, also what the program has not had yet: a command that it starts lacks it.
    """

    relaxes = {RESOURCES, TIMING}

    class Pipe(PerPipe):
        data: buffer[65536]
        used: num  # bytes of the buffer that the program has had, and that the pipe still holds

    def pending(k, f, fd: fd) -> bool:
        return f.used > 0

    def settle(k, f, fd: fd) -> result:
        n = k.length(f)
        f.used = 0
        k.clear(f)
        r = k.consume(fd, n)
        return r

    def forget(k, f, fd: fd) -> result:
        k.clear(f)
        return 0

    def pipe2(k, ends: buf, options: word) -> result:
        fd = k.forward()
        if not ok(fd):
            return fd
        f = k.file(fd)
        if not f:
            return fd
        return fd

    def read(k, f, fd: fd, buf: buf, n: num) -> result:
        if n > 0 and n < SMALL:
            if f.used + n <= k.length(f):
                r = k.take(f, buf, f.used, n)
                if ok(r):
                    f.used = f.used + n
                    k.hit()
                    return r
            r = k.settle(fd)
            if not ok(r):
                return r
            got = k.peek(fd, f)
            if got >= n:
                r = k.take(f, buf, 0, n)
                if ok(r):
                    f.used = n
                    k.hit()
                    return r
        # Nothing is there, or bad memory, for which the kernel has its own answer: the program may wait.
        r = k.settle(fd)
        if not ok(r):
            return r
        k.clear(f)
        k.settle_all()
        r = k.forward()
        return r

    def lseek(k, f, fd: fd, offset: num, whence: word) -> result:
        k.hit()
        return -ESPIPE

    def ioctl(k, f, fd: fd, request: word, arg: num) -> result:
        if request == TCGETS:
            k.hit()
            return -ENOTTY
        r = k.settle(fd)
        if not ok(r):
            return r
        k.settle_all()
        r = k.forward()
        return r

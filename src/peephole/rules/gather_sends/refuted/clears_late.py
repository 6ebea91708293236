"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import (
    EAGAIN,
    PerStream,
    Rule,
    buf,
    buffer,
    fd,
    num,
    ok,
    result,
    word,
)

LARGE = 16384  # larger writes gain little from waiting


class GatherSends(Rule):
    """Breaks discipline: settle calls the kernel before it cleared its state.

    A handler that interrupts the send would send everything again.
    """

    class Stream(PerStream):
        data: buffer[65536]
        space: num  # so many bytes more the kernel surely takes

    def pending(k, f, fd: fd) -> bool:
        return k.length(f) > 0

    def settle(k, f, fd: fd) -> result:
        n = k.length(f)
        r = k.send_all(fd, f, n)
        k.clear(f)
        return r

    def forget(k, f, fd: fd) -> result:
        f.space = 0
        return 0

    def accept4(k, listener: fd, address: buf, size: buf, options: word) -> result:
        k.settle_all()
        fd = k.forward()
        if not ok(fd):
            return fd
        f = k.file(fd)
        if not f:
            return fd
        return fd

    def write(k, f, fd: fd, buf: buf, n: num) -> result:
        if n > 0 and n < LARGE:
            if n > k.room(f):
                r = k.settle(fd)
                if not ok(r):
                    return r
            if f.space < k.cost(n):
                f.space = k.roomy(fd)
            if f.space >= k.cost(n):
                r = k.append(f, buf, n)
                if ok(r):
                    f.space = f.space - k.cost(n)
                    k.hit()
                    return r
        # Large, empty, no room for certain, or bad memory, for which the kernel has its own answer.
        r = k.settle(fd)
        if not ok(r):
            return r
        k.settle_all()
        f.space = 0
        r = k.forward()
        return r

    def read(k, f, fd: fd, buf: buf, n: num) -> result:
        if n > 0:
            r = k.receive(fd, buf, n)
            if r != -EAGAIN:
                return r
        # Nothing is there: the program may wait for the peer, who may wait for what is kept here.
        r = k.settle(fd)
        if not ok(r):
            return r
        k.settle_all()
        r = k.forward()
        return r

    def epoll_wait(k, epoll: fd, events: buf, n: word, timeout: word) -> result:
        r = k.ready(epoll, events, n)
        if r != 0:
            return r
        k.settle_all()
        r = k.forward()
        return r

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
TRIES = 16  # pieces that nothing was joined to; then the socket is left alone
MOST = 64  # joined pieces that are remembered in a socket's favour


class GatherSends(Rule):
    """Breaks contents.

    A file that is sent goes out before what is kept.
    """

    class Stream(PerStream):
        data: buffer[65536]
        space: num  # so many bytes more the kernel surely takes
        pieces: num  # in the buffer
        gain: num  # pieces that were joined to others so far, less the tries that gained nothing

    def pending(k, f, fd: fd) -> bool:
        return k.length(f) > 0

    def settle(k, f, fd: fd) -> result:
        n = k.length(f)
        k.clear(f)
        f.gain = f.gain + f.pieces - 2
        if f.gain > MOST:
            f.gain = MOST
        f.pieces = 0
        r = k.send_all(fd, f, n)
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
        if n > 0 and n < LARGE and f.gain > 0 - TRIES:
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
                    f.pieces = f.pieces + 1
                    k.hit()
                    return r
            f.gain = f.gain - 1
        # Large, empty, no room for certain, or bad memory, for which the kernel has its own answer.
        r = k.settle(fd)
        if not ok(r):
            return r
        k.settle_all()
        f.space = 0
        if f.gain <= 0 - TRIES:
            k.release(fd)
        r = k.forward()
        return r

    def writev(k, f, fd: fd, iov: buf, count: word) -> result:
        n = k.total(iov, count)
        if n > 0 and n < LARGE and f.gain > 0 - TRIES:
            if n > k.room(f):
                r = k.settle(fd)
                if not ok(r):
                    return r
            if f.space < k.cost(n):
                f.space = k.roomy(fd)
            if f.space >= k.cost(n):
                r = k.append_vector(f, iov, count)
                if ok(r):
                    f.space = f.space - k.cost(n)
                    f.pieces = f.pieces + 1
                    k.hit()
                    return r
            f.gain = f.gain - 1
        r = k.settle(fd)
        if not ok(r):
            return r
        k.settle_all()
        f.space = 0
        if f.gain <= 0 - TRIES:
            k.release(fd)
        r = k.forward()
        return r

    def sendfile(k, f, fd: fd, source: fd, offset: buf, n: num) -> result:
        # The head of an answer goes out together with its body.
        kept = k.length(f)
        f.space = 0
        r = k.forward()
        if kept > 0:
            k.clear(f)
            k.send_more(fd, f, kept)
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

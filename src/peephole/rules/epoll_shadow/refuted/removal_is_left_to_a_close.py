"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import (
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    TIMING,
    VISIBILITY,
    PerInterest,
    Rule,
    buf,
    fd,
    num,
    ok,
    result,
    word,
)

REST = 16  # writes on a socket that had no room, before it is asked again
IDLE = 64  # writes that nothing was asked for; then the socket is left alone


class EpollShadow(Rule):
    """Breaks results.

    What is taken from the list is left to a close that may never come.
    """

    relaxes = {VISIBILITY, TIMING}

    class Socket(PerInterest):
        listed: bool  # in the kernel's list of `epoll`, with `held` and `tag`
        epoll: num
        held: num
        tag: num
        wanted: bool  # in the list that the program knows, with `mask`
        mask: num
        space: num  # so many bytes the kernel surely takes; below 0: none, ask again so many writes later
        idle: num  # writes since the list was changed, or asked for them

    def pending(k, f, fd: fd) -> bool:
        return f.listed and (not f.wanted or f.mask != f.held)

    def settle(k, f, fd: fd) -> result:
        if f.wanted:
            f.held = f.mask
            r = k.watch(f.epoll, EPOLL_CTL_MOD, fd, f.mask, f.tag)
        else:
            f.listed = False
            r = k.watch(f.epoll, EPOLL_CTL_DEL, fd, 0, 0)
        return r

    def forget(k, f, fd: fd) -> result:
        f.space = 0
        return 0

    def ready(k, f, fd: fd) -> num:
        if f.listed and f.wanted and f.space > 0 and k.asks_out(f.mask):
            return f.epoll
        return -1

    def accept4(k, listener: fd, address: buf, size: buf, options: word) -> result:
        k.settle_all()
        fd = k.forward()
        if not ok(fd):
            return fd
        f = k.file(fd)
        if not f:
            return fd
        return fd

    def socket(k, family: word, kind: word, protocol: word) -> result:
        k.settle_all()
        fd = k.forward()
        if not ok(fd):
            return fd
        f = k.file(fd)
        if not f:
            return fd
        return fd

    def epoll_ctl(k, f, epoll: fd, op: word, fd: fd, event: buf) -> result:
        f.idle = 0
        mask = k.level(event)
        tag = k.tag(event)
        if f.listed and f.epoll == epoll and k.watchable(epoll):
            if f.wanted and op == EPOLL_CTL_DEL:
                f.wanted = False
                f.listed = False
                k.hit()
                return 0
            sets = EPOLL_CTL_ADD
            if f.wanted:
                sets = EPOLL_CTL_MOD
            if op == sets and mask >= 0 and tag == f.tag:
                f.wanted = True
                f.mask = mask
                k.hit()
                return 0
        r = k.settle(fd)
        if not ok(r):
            return r
        r = k.forward()
        f.listed = ok(r) and op != EPOLL_CTL_DEL and mask >= 0 and k.watchable(epoll)
        f.wanted = f.listed
        f.epoll = epoll
        f.held = mask
        f.mask = mask
        f.tag = tag
        if ok(r) and op != EPOLL_CTL_DEL and mask < 0:
            k.release(fd)
        return r

    def epoll_wait(k, epoll: fd, events: buf, n: word, timeout: word) -> result:
        r = k.known(epoll, events, n)
        if r > 0:
            k.hit()
            return r
        k.settle_all()
        r = k.forward()
        return r

    def write(k, f, fd: fd, buf: buf, n: num) -> result:
        f.idle = f.idle + 1
        if f.wanted and k.asks_out(f.mask):
            f.idle = 0
        if f.idle > IDLE:
            r = k.settle(fd)
            if ok(r):
                k.release(fd)
            r = k.forward()
            return r
        if f.space < k.cost(n):
            if f.space < 0:
                f.space = f.space + 1
            else:
                f.space = 0
                if f.wanted and k.asks_out(f.mask):
                    f.space = k.roomy(fd)
                    if f.space < k.cost(n):
                        f.space = 0 - REST
        if f.space >= k.cost(n):
            f.space = f.space - k.cost(n)
        return k.forward()

    def read(k, f, fd: fd, buf: buf, n: num) -> result:
        return k.forward()

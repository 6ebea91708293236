"""Keep the interest list of an epoll in the process, and tell the kernel only of changes that stay."""

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
    """Keep the interest list of an epoll in the process, and tell the kernel only of changes that stay.

    An event loop that asks for "writable" before each piece, and takes it back after it, changes the kernel's list
    again and again to what it was: squid makes two such calls for each request. This rule answers them from its own
    list, and brings the kernel's up to date before the process really waits. What is closed leaves the kernel's list by
    itself, so that a removal just before the close is never made. Where it knows that a socket has room for more, it
    says "writable" itself, without any call. Only sockets of this process's own are handled, only level-triggered
    interest, and only while the process has one thread. A socket that is written to again and again with no change of
    the list (redis), or whose interest is edge-triggered (nginx), is left alone.

    Counted: squid made 9.7 calls of epoll_ctl a request where each came on a connection of its own, and makes 2.0 (3.0
    if removals before a close were made).
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

"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import (
    F_GETFD,
    F_GETFL,
    F_SETFD,
    FRESHNESS,
    O_DIRECT,
    O_PATH,
    O_WRONLY,
    SEEK_CUR,
    SEEK_SET,
    PerPlace,
    Rule,
    buf,
    buffer,
    fd,
    flags,
    num,
    ok,
    path,
    result,
    word,
)

LARGE = 16384  # larger reads gain nothing from a copy more
NEAR = 65536  # a file that ends so near is read whole for its first piece; of others the second in a row is waited for


class OffsetIsNotPutBack(Rule):
    """Breaks results.

    What shares the description, after a fork, goes on where the kernel stands.
    """

    relaxes = {FRESHNESS}

    class Place(PerPlace):
        data: buffer[65536]
        known: bool  # the program stands at `offset`, and the file reaches to `end`
        offset: num
        end: num
        stands: num  # the kernel's offset
        at: num  # where in the file the buffer begins
        next: num  # where the last read ended, if it was not answered from the buffer

    def pending(k, f, fd: fd) -> bool:
        return f.known

    def settle(k, f, fd: fd) -> result:
        f.known = False
        r = 0
        return r

    def openat(k, dir: fd, name: path, flags: flags, mode: word) -> result:
        k.settle_all()
        fd = k.forward()
        if not ok(fd) or flags & (O_WRONLY | O_PATH | O_DIRECT):
            return fd
        end = k.size(fd)
        if end < 1:
            return fd
        f = k.file(fd)
        if f:
            f.known = True
            f.end = end
            f.next = 0 - 1
        return fd

    def read(k, f, fd: fd, buf: buf, n: num) -> result:
        if f.known and n > 0 and n <= LARGE and f.offset < f.end:
            m = n
            if f.end - f.offset < n:
                m = f.end - f.offset
            if f.offset < f.at or f.offset + m > f.at + k.length(f):
                k.clear(f)
                if f.end - f.offset <= NEAR or f.next == f.offset:
                    got = k.fill(fd, f, f.offset)
                    if ok(got):
                        f.at = f.offset
            if f.at <= f.offset and f.offset + m <= f.at + k.length(f):
                r = k.take(f, buf, f.offset - f.at, m)
                if ok(r):
                    f.offset = f.offset + m
                    k.hit()
                    return r
        if f.known and f.stands != f.offset:
            r = k.lseek(fd, f.offset, SEEK_SET)
            if not ok(r):
                return r
            f.stands = f.offset
        r = k.forward()
        if f.known and r > 0:
            f.offset = f.offset + r
            f.stands = f.offset
            f.next = f.offset
        return r

    def lseek(k, f, fd: fd, offset: num, whence: word) -> result:
        if f.known and whence >= SEEK_SET and whence <= SEEK_CUR:
            to = offset
            if whence == SEEK_CUR:
                to = f.offset + offset
            if to >= 0 and to <= f.end:
                f.offset = to
                k.hit()
                return to
        r = k.settle(fd)
        if not ok(r):
            return r
        r = k.forward()
        return r

    def pread64(k, f, fd: fd, buf: buf, n: num, offset: num) -> result:
        return k.forward()

    def fstat(k, f, fd: fd, statbuf: buf) -> result:
        return k.forward()

    def fcntl(k, f, fd: fd, command: word, arg: num) -> result:
        # Others may change how the file is read, or count from where the program stands (F_SETLK).
        if command != F_GETFD and command != F_SETFD and command != F_GETFL:
            r = k.settle(fd)
            if not ok(r):
                return r
        r = k.forward()
        return r

"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import (
    F_SETFL,
    O_APPEND,
    O_DIRECT,
    O_DSYNC,
    O_PATH,
    O_SYNC,
    SEEK_CUR,
    PerOpenFile,
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
    writable,
)

SMALL = 4096  # larger writes gain little from waiting


class CoalesceWrites(Rule):
    """Breaks contents.

    A large write is passed on with smaller ones still pending.
    """

    class File(PerOpenFile):
        data: buffer[65536]
        plain: bool  # the flags are still those of open
        appending: bool

    def pending(k, f, fd: fd) -> bool:
        return k.length(f) > 0

    def settle(k, f, fd: fd) -> result:
        n = k.length(f)
        k.clear(f)
        r = k.write_all(fd, f, n)
        return r

    def openat(k, dir: fd, name: path, flags: flags, mode: word) -> result:
        k.settle_all()
        fd = k.forward()
        if not ok(fd) or not writable(flags) or flags & (O_SYNC | O_DSYNC | O_DIRECT | O_PATH):
            return fd
        f = k.file(fd)
        if f:
            f.plain = True
            f.appending = flags & O_APPEND
        return fd

    def write(k, f, fd: fd, buf: buf, n: num) -> result:
        if f.plain and n > 0 and n <= SMALL:
            if n > k.room(f):
                r = k.settle(fd)
                if not ok(r):
                    return r
            r = k.append(f, buf, n)
            if ok(r):
                k.hit()
                return r
        r = k.forward()
        return r

    def lseek(k, f, fd: fd, offset: num, whence: word) -> result:
        if f.plain and not f.appending and offset == 0 and whence == SEEK_CUR:
            p = k.position(fd)
            if ok(p):
                k.hit()
                return p + k.length(f)
        r = k.settle(fd)
        if not ok(r):
            return r
        r = k.forward()
        return r

    def fcntl(k, f, fd: fd, command: word, arg: num) -> result:
        r = k.settle(fd)
        if not ok(r):
            return r
        if command == F_SETFL:
            f.plain = False
        r = k.forward()
        return r

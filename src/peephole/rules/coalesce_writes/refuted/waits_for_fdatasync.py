"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import (
    O_APPEND,
    O_DIRECT,
    O_DSYNC,
    O_PATH,
    O_SYNC,
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

    pwrite waits for an fdatasync that never comes.
    """

    class File(PerOpenFile):
        data: buffer[65536]
        at: num

    def pending(k, f, fd: fd) -> bool:
        return False

    def settle(k, f, fd: fd) -> result:
        return 0

    def openat(k, dir: fd, name: path, flags: flags, mode: word) -> result:
        k.settle_all()
        fd = k.forward()
        if not ok(fd) or not writable(flags) or flags & (O_APPEND | O_SYNC | O_DSYNC | O_DIRECT | O_PATH):
            return fd
        f = k.file(fd)
        if f:
            f.at = 0
        return fd

    def pwrite64(k, f, fd: fd, buf: buf, n: num, offset: num) -> result:
        if k.length(f) == 0 and n > 0 and n <= SMALL:
            r = k.append(f, buf, n)
            if ok(r):
                f.at = offset
                return r
        r = k.forward()
        return r

    def fdatasync(k, f, fd: fd) -> result:
        n = k.length(f)
        k.clear(f)
        r = k.pwrite_all(fd, f, n, f.at)
        if not ok(r):
            return r
        r = k.forward()
        return r

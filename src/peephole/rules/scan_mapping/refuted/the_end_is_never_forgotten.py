"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import (
    O_DIRECT,
    O_PATH,
    O_WRONLY,
    PerOpenFile,
    Rule,
    buf,
    fd,
    flags,
    num,
    ok,
    path,
    result,
    word,
)

MOST = 32768  # bytes of a read; in larger ones entering the kernel does not show
NEAR = 262144  # bytes that a scan may skip; another process may scan what lies between
ROW = 2  # reads near the one before; then a window is mapped
AWAY = 32  # reads that were not; then the file is left alone


class ScanMapping(Rule):
    """Breaks discipline: settle leaves something pending.

    How far the file reaches is believed after the program has cut it.
    """

    class File(PerOpenFile):
        end: num  # the file reaches at least so far; 0: not known
        last: num  # where the last read ended
        row: num  # reads near the one before; below 0: reads that were not

    def pending(k, f, fd: fd) -> bool:
        return f.end > 0

    def settle(k, f, fd: fd) -> result:
        return 0

    def openat(k, dir: fd, name: path, flags: flags, mode: word) -> result:
        k.settle_all()
        fd = k.forward()
        if not ok(fd) or flags & (O_WRONLY | O_PATH | O_DIRECT):
            return fd
        f = k.file(fd)
        if not f:
            return fd
        return fd

    def pread64(k, f, fd: fd, buf: buf, n: num, offset: num) -> result:
        if offset < f.last - NEAR or offset > f.last + NEAR:
            if f.row > 0:
                f.row = 0
            f.row = f.row - 1
        else:
            f.row = f.row + 1
        f.last = offset + n
        if f.row < 0 - AWAY:
            f.end = 0
            k.release(fd)
            r = k.forward()
            return r
        if f.row > ROW and n > 0 and n <= MOST and offset >= 0:
            if f.last > f.end:
                f.end = 0
                size = k.size(fd)
                if size >= f.last:
                    f.end = size
            if f.last <= f.end:
                r = k.copy_mapped(fd, buf, offset, n)
                if ok(r):
                    k.hit()
                    return r
        return k.forward()

    def pwrite64(k, f, fd: fd, buf: buf, n: num, offset: num) -> result:
        return k.forward()

    def read(k, f, fd: fd, buf: buf, n: num) -> result:
        return k.forward()

    def lseek(k, f, fd: fd, offset: num, whence: word) -> result:
        return k.forward()

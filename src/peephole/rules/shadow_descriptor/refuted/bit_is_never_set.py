"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import (
    ENOTTY,
    F_GETFD,
    F_GETFL,
    F_SETFD,
    F_SETFL,
    FD_CLOEXEC,
    O_APPEND,
    O_CLOEXEC,
    O_PATH,
    SEEK_CUR,
    SEEK_SET,
    TCGETS,
    PerPlace,
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


class BitIsNeverSet(Rule):
    """Breaks results.

    What F_SETFD changes is forgotten before an exec, instead of set.
    """

    class Place(PerPlace):
        at_known: bool
        at: num  # the offset
        plain: bool  # not appending, and the flags are still those of open
        flags_known: bool
        flags: num  # as F_GETFL says them
        bits_known: bool
        bits: num  # as F_GETFD says them
        owed: bool  # the kernel has the other value yet

    def pending(k, f, fd: fd) -> bool:
        return f.at_known or f.owed

    def settle(k, f, fd: fd) -> result:
        # Before a call on it that is not looked at: it may move the offset.
        f.at_known = False
        if f.owed:
            f.owed = False
            k.setfd(fd, 0)
        return 0

    def forget(k, f, fd: fd) -> result:
        f.bits_known = False
        return 0

    def openat(k, dir: fd, name: path, flags: flags, mode: word) -> result:
        k.settle_all()
        fd = k.forward()
        if not ok(fd) or flags & O_PATH:
            return fd
        f = k.file(fd)
        if f:
            f.at_known = True
            f.at = 0
            f.plain = not flags & O_APPEND
            f.bits_known = True
            f.bits = 0
            if flags & O_CLOEXEC:
                f.bits = FD_CLOEXEC
        return fd

    def lseek(k, f, fd: fd, offset: num, whence: word) -> result:
        if f.at_known:
            if whence == SEEK_CUR and offset == 0:
                k.hit()
                return f.at
            if whence == SEEK_SET and offset == f.at:
                k.hit()
                return f.at
        r = k.forward()
        if ok(r):
            f.at_known = True
            f.at = r
        return r

    def read(k, f, fd: fd, buf: buf, n: num) -> result:
        r = k.forward()
        if r > 0:
            f.at = f.at + r
        return r

    def write(k, f, fd: fd, buf: buf, n: num) -> result:
        r = k.forward()
        if r > 0:
            f.at = f.at + r
            if not f.plain:
                f.at_known = False
        return r

    def pread64(k, f, fd: fd, buf: buf, n: num, offset: num) -> result:
        return k.forward()

    def pwrite64(k, f, fd: fd, buf: buf, n: num, offset: num) -> result:
        return k.forward()

    def fstat(k, f, fd: fd, statbuf: buf) -> result:
        return k.forward()

    def fcntl(k, f, fd: fd, command: word, arg: num) -> result:
        if command == F_GETFL and f.flags_known:
            k.hit()
            return f.flags
        if command == F_SETFL:
            f.plain = False
            f.flags_known = False
        if command == F_GETFD and f.bits_known:
            k.hit()
            return f.bits
        if command == F_SETFD:
            if f.bits_known and (arg == 0 or arg == FD_CLOEXEC):
                if arg == f.bits:
                    k.hit()
                    return 0
                if k.single():
                    f.bits = arg
                    f.owed = not f.owed
                    k.hit()
                    return 0
            f.bits_known = False
            f.owed = False
        r = k.forward()
        if command == F_GETFL and ok(r):
            f.flags = r
            f.flags_known = True
        return r

    def ioctl(k, f, fd: fd, request: word, arg: num) -> result:
        if request == TCGETS:
            k.hit()
            return -ENOTTY
        k.settle(fd)
        k.settle_all()
        f.flags_known = False
        f.bits_known = False
        r = k.forward()
        return r

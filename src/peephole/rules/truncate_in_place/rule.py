"""Overwrite a file in place instead of emptying it first."""

from peephole.prove.vocabulary import (
    ATOMICITY,
    CRASH,
    ERROR_TIMING,
    EXT4_ORDERED,
    F_GETFD,
    F_SETFD,
    FICLONE,
    O_APPEND,
    O_DSYNC,
    O_EXCL,
    O_PATH,
    O_SYNC,
    O_TRUNC,
    RESOURCES,
    SEEK_CUR,
    SEQUENTIAL,
    SURVIVAL,
    TCGETS,
    TIMESTAMPS,
    VISIBILITY,
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
    writable,
)


class TruncateInPlace(Rule):
    """Overwrite a file in place instead of emptying it first.

    `open(O_TRUNC)` gives the file's blocks back to the file system, and the writes that follow ask for new ones; on
    ext4 the close then flushes them too (auto_da_alloc). This rule opens the file without O_TRUNC, lets the program
    overwrite the old bytes, and cuts the file to what was written when the program closes it or does anything else
    with it. While the file is being rewritten, others see the new beginning followed by the old tail.

    Measured (`python -m bench rules`, on a quiet machine): bash that writes one file 3000 times by `echo > f` on ext4
    takes 0.14 of the time, 0.21 of the CPU, and writes 0.005 of the bytes.
    """

    relaxes = {VISIBILITY, ATOMICITY, TIMESTAMPS, SURVIVAL, ERROR_TIMING, RESOURCES}
    relaxes_on = {EXT4_ORDERED: {CRASH}, SEQUENTIAL: {CRASH}}

    class File(PerOpenFile):
        active: bool  # the file should be empty beyond `end`, and is not yet
        old: num  # size when it was opened
        end: num  # new bytes, contiguous from 0

    def pending(k, f, fd: fd) -> bool:
        return f.active

    def settle(k, f, fd: fd) -> result:
        f.active = False
        r = 0
        if f.end < f.old:
            r = k.ftruncate(fd, f.end)
        return r

    def openat(k, dir: fd, name: path, flags: flags, mode: word) -> result:
        k.settle_all()
        if not flags & O_TRUNC or not writable(flags) or flags & (O_APPEND | O_PATH | O_EXCL | O_SYNC | O_DSYNC):
            return k.forward()
        fd = k.openat(dir, name, flags & ~O_TRUNC, mode)
        if not ok(fd):
            return fd
        size = k.size(fd)
        if size > 0:
            f = k.file(fd)
            if f:
                f.active = True
                f.old = size
                f.end = 0
                k.hit()
                return fd
        # Empty already, or not ours to defer: what the original does, before the program sees the descriptor.
        if size != 0:
            r = k.ftruncate(fd, 0)
            if not ok(r):
                k.close(fd)
                return r
        return fd

    def write(k, f, fd: fd, buf: buf, n: num) -> result:
        r = k.forward()
        if f.active and r > 0:
            f.end = f.end + r
        return r

    def writev(k, f, fd: fd, iov: buf, n: num) -> result:
        r = k.forward()
        if f.active and r > 0:
            f.end = f.end + r
        return r

    def copy_file_range(k, f, source: fd, source_offset: buf, fd: fd, offset: buf, n: num, flags: num) -> result:
        if f.active and offset != 0:
            r = k.settle(fd)
            if not ok(r):
                return r
        r = k.forward()
        if f.active and r > 0:
            f.end = f.end + r
        return r

    def lseek(k, f, fd: fd, offset: num, whence: word) -> result:
        if f.active and (offset != 0 or whence != SEEK_CUR):
            r = k.settle(fd)
            if not ok(r):
                return r
        r = k.forward()
        return r

    def fstat(k, f, fd: fd, statbuf: buf) -> result:
        if f.active and f.end > 0:
            r = k.settle(fd)
            if not ok(r):
                return r
        r = k.forward()
        if f.active and ok(r):
            k.stat_set_size(statbuf, 0)
        return r

    def ioctl(k, f, fd: fd, request: word, arg: num) -> result:
        if request != TCGETS:
            c = k.clones(fd)
            if request != FICLONE or c != 0:
                r = k.settle(fd)
                if not ok(r):
                    return r
                k.settle_all()  # the argument may name another descriptor
        r = k.forward()
        return r

    def fcntl(k, f, fd: fd, command: word, arg: num) -> result:
        if f.active and command != F_GETFD and command != F_SETFD:
            r = k.settle(fd)
            if not ok(r):
                return r
        r = k.forward()
        return r

"""Answer where a file is looked for in a folder that does not have it."""

from peephole.prove.vocabulary import (
    ENOENT,
    FRESHNESS,
    O_CREAT,
    Rule,
    fd,
    flags,
    path,
    result,
    word,
)


class CacheAbsent(Rule):
    """Answer where a file is looked for in a folder that does not have it.

    Compilers and interpreters look for each file in one folder after the other. This rule lists a folder when four
    files were looked for in it, and answers the next ones that it lacks by ENOENT. What is known is forgotten when the
    program makes, renames or removes anything, waits, communicates, starts a process or ends; so a file that another
    process makes is missed only while the program opens, reads and examines files, and does nothing else. It acts while
    the program has one thread, on folders of at most a thousand names that it may list without changing their times.

    Measured on a busy machine: gcc with 40 -I folders and 128 headers takes 0.91 of the CPU; without the 40 folders it
    takes 0.79. Without -I it takes 1.10: the interposer's start in four processes that last some milliseconds. With 40
    folders and 9 headers of the system (`python -m bench rules`, on a quiet machine) half of the calls go, and it
    takes 0.92 of the CPU.
    """

    relaxes = {FRESHNESS}

    def openat(k, dir: fd, name: path, flags: flags, mode: word) -> result:
        k.settle_all()
        if not flags & O_CREAT:
            absent = k.absent(dir, name)
            if absent == 1:
                k.hit()
                return -ENOENT
        fd = k.forward()
        return fd

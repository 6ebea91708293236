"""Answer where a file is examined again that nobody has changed."""

from peephole.prove.vocabulary import FRESHNESS, TIMESTAMPS, Rule, buf, fd, path, result, word


class CacheStat(Rule):
    """Answer where a file is examined again that nobody has changed.

    `git status` examines every file of its tree, each time. What files were when a command of an improved shell
    examined them, the keeper examines once more and keeps in memory that all commands of the shell share; the next
    command is answered from there. So it is a shell that is improved, or a program that starts others: `peephole
    improve --rules cache_stat --allow freshness,timestamps -- bash`. A single command gains nothing, and pays for
    asking.

    Answered is newfstatat (stat and lstat of the C library) on a path that begins at the working folder, of at most
    511 bytes and without `.`, `..` and links on its way, for a regular file of one name on a mount that the plan
    covers. Folders, links, absolute paths and statx (`ls`) go to the kernel. A file that was changed within the last
    minute does too, unless it lies in memory (tmpfs): until its data have their place on the disk, st_blocks may
    change by itself.

    What the tree changes is seen at once. Each of its processes says what it is about to change before it does: files
    by their inode, so that it matters neither by which name nor by which descriptor; and that it changes names, so
    that nothing is answered before the keeper has heard of that, by inotify, which takes it some milliseconds at
    most. What nothing tells makes all that was known unknown: a mount, ioctl on a folder, a call that is not known. A
    file that the tree maps for writing is never answered for. Where a process of the tree is not seen (set-uid, a
    sandbox, another namespace), or does its I/O by io_submit or io_uring, nothing is answered from then on.

    `freshness`: of what other processes change inotify tells the keeper, and it is seen some milliseconds later. Not
    told is what they store through a mapping or write by io_submit, what they change by another name that they gave
    the file after it was examined, and a file system that they mount on the way to it: that is seen when the file is
    changed in another way, and at the latest after ten minutes, when everything is asked anew. `timestamps`: st_atime
    is that of when the file was examined; later reads, by the program too, do not show.

    Limits: 65,536 files, 8,191 folders, 32 working folders, and what /proc/sys/fs/inotify allows; beyond them the
    kernel answers. A folder in which something happens is asked anew, all of it.

    Measured while the machine had other work (`python -m bench rules`, 9 pairs; before that 7): the second `git
    status` of 50,000 files of an improved shell, which examines them in 20 threads, used 0.55 of the CPU (0.47 to
    0.63; before that 0.51 to 0.57) and all of them were answered for. The first one used 1.36, for asking, and the
    keeper 0.11 s of CPU, as much as a plain `git status`: it pays from the fourth command on.
    """

    relaxes = {FRESHNESS, TIMESTAMPS}

    def newfstatat(k, dir: fd, name: path, to: buf, flags: word) -> result:
        known = k.examined(dir, name, to, flags)
        if known == 1:
            k.hit()
            return 0
        r = k.forward()
        return r

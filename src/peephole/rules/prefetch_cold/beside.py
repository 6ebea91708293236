"""Read a program's files ahead of it, while they are cold.

A program that reads many files for the first time since the machine started waits for the disk at each, one wait after
the other. This rule is a macro-system call beside the program: a small process opens the files that the last run read,
in its order, and has the kernel read them ahead, eight waits at the same time. The list comes from a capture and lies
beside the plan, a private file; `peephole tune` and `peephole plan` make it.

It stops as soon as nothing is cold: of 16 files in a row it looks at two, and while these are in the caches it goes on
twice as far each time. It asks for no more than a quarter of the memory that is free for use, stands behind everybody
else for the CPU and the disk, and ends with the program. File systems that are not disks of this machine are left out.

What "proved" means here
    No call of the program is changed, so there is nothing for Z3 to compare: contents and results are the program's
    own. What has to hold is that the helper changes nothing, and the kernel itself sees to that. Before it touches the
    first file the helper gives up, by a seccomp filter that it can't take back, every call but those that only look:
    opening without write, create or truncate, examining, listing, readahead. A helper with a bug is killed at the
    wrong call, and the program runs on. Only regular files and directories are opened, by the inode that was examined,
    never a FIFO or a device; no access time changes (O_NOATIME, or nothing is read). What a rule of this kind might do
    wrong, such as opening for writing or removing, is tried by a test, and each ends in a kill.

Measured (`python -m bench rules`)
    A cold `grep -r` of 20,000 files takes 0.29 of the time and 0.84 of the CPU; where the disk is slower, 0.13 of the
    time. The same search of what is cached takes 1.01.

Gives up
    `resources`: page cache and bandwidth of the disk, for files that the program may not want this time, and CPU for
    opening them twice. `timing`: others wait for the disk at other times. Who watches files (inotify, fanotify, a
    lease) sees them opened once more.
"""

from peephole.prove.vocabulary import RESOURCES, TIMING

relaxes = {RESOURCES, TIMING}

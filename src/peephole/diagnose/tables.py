"""What detectors look at: tables derived once from a capture, as Ibis expressions.

Nothing here or in a detector may be in one engine's own SQL: the same expressions run on DuckDB and on Spark.
Order is `seq`; times may be missing (strace text without them), `seq` never is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from peephole.observe.syscalls import NUMBERS
from peephole.trace import Capture

O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND = 0o1, 0o2, 0o100, 0o1000, 0o2000
REGULAR, DIRECTORY, LINK = 8, 4, 10

#: calls that return a new open file description of a path
OPENS = ("open", "openat", "openat2", "creat")
#: calls that put bytes into the description their row names; their result is the count
WRITES = ("write", "writev", "pwrite64", "pwritev", "pwritev2", "sendfile")
#: calls that look at a path and change nothing
EXAMINES = ("stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat")
#: calls that work on one descriptor (class FD, DUP and CLOSE of core/runtime/calls.def)
ON_DESCRIPTOR = (
    *("read", "write", "close", "fstat", "lseek", "pread64", "pwrite64", "readv", "writev", "dup", "dup2"),
    *("dup3", "fcntl", "flock", "fsync", "fdatasync", "ftruncate", "getdents", "getdents64", "fchmod", "fchown"),
    *("sync_file_range", "fallocate", "preadv", "pwritev", "preadv2", "pwritev2", "sendfile", "copy_file_range"),
)
#: calls that touch no file and no other process, and do not block (class INERT of core/runtime/calls.def)
INERT = (
    *("mprotect", "munmap", "brk", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "mremap", "madvise", "getpid"),
    *("uname", "fchdir", "umask", "gettimeofday", "getrlimit", "getrusage", "sysinfo", "getuid", "getgid", "geteuid"),
    *("getegid", "getppid", "getpgrp", "sigaltstack", "arch_prctl", "gettid", "readahead", "time", "set_tid_address"),
    *("fadvise64", "clock_gettime", "clock_getres", "set_robust_list", "prlimit64", "getcpu", "getrandom"),
    *("membarrier", "rseq"),
)
#: calls that wait for something else than the CPU, whatever they are called on
WAITS = (
    *("poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2", "futex", "nanosleep"),
    *(
        "clock_nanosleep",
        "wait4",
        "waitid",
        "pause",
        "rt_sigsuspend",
        "rt_sigtimedwait",
        "accept",
        "accept4",
        "connect",
    ),
    *("flock", "fsync", "fdatasync", "msync", "sync", "syncfs", "semop", "semtimedop", "msgrcv", "msgsnd", "vfork"),
    *("restart_syscall", "io_uring_enter", "io_getevents", "recvfrom", "recvmsg", "recvmmsg", "sendto", "sendmsg"),
)
#: on a pipe, a socket or a terminal these wait too
_WAITS_OFF_FILES = ("read", "readv", "write", "writev", "splice", "sendfile", "tee")
#: of a wait, this much counts as work of the program's own: the way in and out
_WAIT_WORK_NS = 20_000
#: prefixes of paths that are no regular files, for captures that do not know a file's type (strace text)
_NOT_FILES = ("/dev/", "/proc/", "/sys/")

_DETECTABLE = tuple(
    name for name in (*OPENS, *WRITES, *EXAMINES, *ON_DESCRIPTOR, *INERT, *WAITS) if name not in NUMBERS
)
assert not _DETECTABLE, _DETECTABLE


def ordered(*keys: str) -> Any:
    """The window of all rows that agree in `keys`, in the order of the calls."""
    import ibis

    return ibis.window(group_by=list(keys), order_by="seq")


def so_far(*keys: str) -> Any:
    """The window from the first row that agrees in `keys` up to this one."""
    import ibis

    return ibis.cumulative_window(group_by=list(keys), order_by="seq")


@dataclass(frozen=True)
class Tables:
    """A capture's calls, processes and what is derived from them. Derived tables are computed once."""

    recorded: Any  # calls.parquet
    recorded_processes: Any  # processes.parquet
    recorded_gaps: Any  # gaps.parquet
    kept: list[Any] = field(default_factory=list)

    def _keep(self, expression: Any) -> Any:
        cached = expression.cache()
        self.kept.append(cached)
        return cached

    @cached_property
    def calls(self) -> Any:
        """Every call, with `path` as text, `ns` (its end, else its begin), `file` (its file's key) and `regular`.

        `file` is device and inode; in strace text, which has neither, the path that the file was opened by.
        """
        import ibis
        from ibis import _

        calls = self.recorded.mutate(
            path=_.path.cast("string"), name=_.name.cast("string"), ns=ibis.coalesce(_.exit_ns, _.enter_ns)
        )
        named = ibis.ifelse(_.ofd.notnull() | _.size.notnull(), _.path.nullif(""), ibis.null("string"))
        identity = _.dev.cast("string").concat(":", _.ino.cast("string"))
        other = ibis.or_(*[_.path.startswith(prefix) for prefix in _NOT_FILES])
        plausible = (
            _.ftype.isnull() & ~other.fill_null(False) & _.ofd.notnull() & ~_.path.contains(":[").fill_null(False)
        )
        return calls.mutate(
            file=ibis.ifelse(_.ino.notnull(), identity, named),
            regular=((_.ftype == REGULAR) | plausible).fill_null(False),
        )

    @cached_property
    def opens(self) -> Any:
        """One row an open that succeeded: ofd, image, fd, seq, ns, path, flags, file, dev, regular, size."""
        import ibis
        from ibis import _

        creat = O_WRONLY | O_CREAT | O_TRUNC
        flags = ibis.cases(
            (_.name == "open", _.a1), (_.name == "openat", _.a2), (_.name == "creat", ibis.literal(creat))
        )
        opened = self.calls.filter(_.name.isin(OPENS), _.ret >= 0, _.ofd.notnull())
        return self._keep(
            opened.select(
                "ofd", "image", "pid", "seq", "ns", "path", "file", "dev", "regular", "size", fd=_.ret, flags=flags
            )
        )

    @cached_property
    def spans(self) -> Any:
        """One row an open file description: begin and end, who used it, what was written through it.

        Columns: ofd, begin_ns, end_ns, images (how many processes used it), first_image, written (bytes), copied_in
        (bytes that copy_file_range or splice put in), largest (the largest size seen).
        """
        from ibis import _

        wrote = _.name.isin(WRITES) & (_.ret > 0)
        used = self.calls.filter(_.ofd.notnull())
        spans = used.group_by("ofd").aggregate(
            begin_ns=_.ns.min(),
            end_ns=_.ns.max(),
            images=_.image.nunique(),
            written=_.ret.sum(where=wrote).fill_null(0),
            largest=_.size.max(),
        )
        return self._keep(
            spans.left_join(self._copies, "ofd").drop("ofd_right").mutate(copied_in=_.copied_in.fill_null(0))
        )

    @cached_property
    def _copies(self) -> Any:
        # The row of a copy inside the kernel names the description it reads from. The other one is what was last
        # opened under the number in its third argument.
        import ibis
        from ibis import _

        copies = self.calls.filter(_.name.isin(("copy_file_range", "splice")), _.ret > 0)
        into = copies.select("image", "seq", fd=_.a2, bytes=_.ret, opened=ibis.null("int64"))
        opens = self.opens.select("image", "seq", "fd", bytes=ibis.literal(0, "int64"), opened=_.seq)
        both = into.union(opens).mutate(opened=_.opened.max().over(so_far("image", "fd")))
        totals = both.filter(_.opened.notnull()).group_by("opened").aggregate(copied_in=_.bytes.sum())
        return totals.join(self.opens.select("seq", "ofd"), totals.opened == self.opens.seq).select("ofd", "copied_in")

    @cached_property
    def filled(self) -> Any:
        """Each open with `before`, the size its file was last seen to have, and `before_ns`, when; null if never."""
        import ibis
        from ibis import _

        seen = ibis.coalesce(_.size, ibis.ifelse(_.name.isin(WRITES) & (_.ret > 0), _.offset, ibis.null("int64")))
        rows = self.calls.filter(_.file.notnull()).mutate(seen=seen, opening=_.name.isin(OPENS) & (_.ret >= 0))
        rows = rows.filter(_.seen.notnull() | _.opening)
        after = ordered("file")
        rows = rows.mutate(before=_.seen.lag().over(after), before_ns=_.ns.lag().over(after))
        return self._keep(rows.filter(_.opening).select("seq", "before", "before_ns"))

    @cached_property
    def lookups(self) -> Any:
        """One row an examination of a path: image, seq, ns, name, at (which directory it starts from), path, ret."""
        import ibis
        from ibis import _

        asked = self.calls.filter(_.name.isin(EXAMINES), _.path.notnull(), _.path != "")
        at = ibis.ifelse(_.name.endswith("at") | _.name.isin(("statx", "faccessat2")), _.a0, ibis.literal(-100))
        return self._keep(asked.select("image", "pid", "seq", "ns", "name", "path", "ret", "size", at=at))

    @cached_property
    def images(self) -> Any:
        """One row a process image: image, pid, program (the executable's name), busy_ns, calls.

        `busy_ns` is the time between its calls, waits left out: CPU time as nearly as a capture shows it; null
        without times.
        """
        import ibis
        from ibis import _

        rows = self.calls.select("image", "tid", "seq", "ns", "name", "regular")
        rows = rows.mutate(gap=_.ns - _.ns.lag().over(ordered("image", "tid")))
        waits = _.name.isin(WAITS) | (_.name.isin(_WAITS_OFF_FILES) & ~_.regular)
        work = ibis.ifelse(waits, ibis.least(_.gap, _WAIT_WORK_NS), _.gap)
        busy = rows.mutate(work=work).group_by("image").aggregate(busy_ns=_.work.sum(), calls=_.count())
        exe = _.exe.cast("string").re_replace("^.*/", "")
        named = self.recorded_processes.select("image", "pid", program=ibis.coalesce(exe.nullif(""), ibis.literal("?")))
        return self._keep(busy.left_join(named, "image").drop("image_right").mutate(program=_.program.fill_null("?")))


@contextmanager
def tables_of(capture: Capture) -> Iterator[Tables]:
    """The tables of a capture, in an embedded DuckDB that lives as long as they do."""
    import ibis

    connection = ibis.duckdb.connect()
    try:
        tables = Tables(
            *(connection.read_parquet(str(file)) for file in (capture.calls, capture.processes, capture.gaps))
        )
        try:
            yield tables
        finally:
            for cached in tables.kept:
                cached.release()
    finally:
        connection.disconnect()

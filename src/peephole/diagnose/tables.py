"""What detectors look at: tables derived once from a capture, as Ibis expressions.

Nothing here or in a detector may be in one engine's own SQL: the same expressions run on DuckDB and on Spark.
Order is `seq`; times may be missing (strace text without them), `seq` never is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from peephole.errors import UsageError
from peephole.observe.syscalls import NUMBERS
from peephole.trace import Capture

O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND = 0o1, 0o2, 0o100, 0o1000, 0o2000
REGULAR, DIRECTORY, LINK = 8, 4, 10

#: calls that return a new open file description of a path
OPENS = ("open", "openat", "openat2", "creat")
#: calls that put bytes into the description their row names; their result is the count
WRITES = ("write", "writev", "pwrite64", "pwritev", "pwritev2", "sendfile")
#: calls that take a name away
REMOVES = ("unlink", "unlinkat")
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
    *("uname", "umask", "gettimeofday", "getrlimit", "getrusage", "sysinfo", "getuid", "getgid", "geteuid"),
    *("getegid", "getppid", "getpgrp", "sigaltstack", "arch_prctl", "gettid", "readahead", "time", "set_tid_address"),
    *("fadvise64", "clock_gettime", "clock_getres", "set_robust_list", "prlimit64", "getcpu", "getrandom"),
    *("membarrier", "rseq", "epoll_ctl"),
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
#: waits for events of many descriptors
EVENT_WAITS = ("epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "pselect6")
#: one that takes less than this did not wait
_READY_NS = 50_000
#: of a wait, this much counts as work of the program's own: the way in and out
_WAIT_WORK_NS = 20_000
#: prefixes of paths that are no regular files, for captures that do not know a file's type (strace text)
_NOT_FILES = ("/dev/", "/proc/", "/sys/")

#: the kernel reads no more at once
_MOST_BYTES = 0x7FFFF000
#: columns of calls.parquet that no detector looks at
_NOT_LOOKED_AT = ("cpu", "a5", "ip", "switches", "address", "stack")

_DETECTABLE = tuple(
    name for name in (*OPENS, *WRITES, *EXAMINES, *ON_DESCRIPTOR, *INERT, *WAITS) if name not in NUMBERS
)
assert not _DETECTABLE, _DETECTABLE


#: calls that put bytes into a socket
SENDS = ("write", "writev", "sendto", "sendmsg", "sendmmsg")
#: calls that take bytes out of a socket
RECEIVES = ("read", "readv", "recvfrom", "recvmsg")
#: waits that come before a receive in the classical loop
POLLS = ("poll", "ppoll", "select", "pselect6")
#: calls that make what was written durable
SYNCS = ("fsync", "fdatasync")
SOCKET, FIFO, DEVICE = 12, 1, 2


#: calls one after the other in a thread that tell something together: what is got is sent on or written, a poll is
#: followed by a receive, a seek by a read or write, and what is done once more
_PAIRS = (
    ((*RECEIVES, "pread64"), (*SENDS, "pwrite64")),
    (POLLS, RECEIVES),
    (("lseek",), ("read", "write")),
    (("rt_sigprocmask",), ("rt_sigprocmask",)),
    (("nanosleep", "clock_nanosleep"), ("nanosleep", "clock_nanosleep")),
)


def numbers(*names: str) -> list[int]:
    """The numbers of calls, as `nr` has them."""
    return [NUMBERS[name] for name in names]


def _waits() -> Any:
    """Whether a call waits for something else than the CPU."""
    from ibis import _

    off_file = _.nr.isin(numbers(*_WAITS_OFF_FILES)) & ~_.regular
    return (_.nr.isin(numbers(*WAITS)) | off_file).fill_null(False)


def ordered(*keys: str) -> Any:
    """The window of all rows that agree in `keys`, in the order of the calls."""
    import ibis

    return ibis.window(group_by=list(keys), order_by="seq")


def so_far(*keys: str) -> Any:
    """The window from the first row that agrees in `keys` up to this one."""
    import ibis

    return ibis.cumulative_window(group_by=list(keys), order_by="seq")


def breaks_before(rows: Any, breaks: Any, *keys: str) -> Any:
    """seq of `rows`, with how many of `breaks` that agree in `keys` come before each; a row may be a break itself.

    The difference of two row numbers: a running sum of as many rows is several times dearer.
    """
    import ibis
    from ibis import _

    rows, breaks = rows.select(*keys, "seq"), breaks.select(*keys, "seq")
    both = rows.mutate(row=ibis.literal(True)).union(breaks.mutate(row=ibis.literal(False)))
    # A row that is a break itself comes twice; the row first.
    here = ibis.window(group_by=list(keys), order_by=["seq", ibis.desc("row")])
    both = both.mutate(of_both=ibis.row_number().over(here)).filter(_.row)
    both = both.mutate(of_rows=ibis.row_number().over(here))
    return both.select("seq", breaks=_.of_both - _.of_rows)


def looked_at(recorded: Any) -> Any:
    """The columns of calls.parquet that detectors look at, names and paths as text; and numbers that are made of them.

    `nr` is null for a 32-bit call; `ns` is its end, else its begin; `took_ns` the time between; `regular`: it is of a
    regular file, as far as is known.
    """
    import ibis
    from ibis import _

    calls = recorded.drop(*(name for name in _NOT_LOOKED_AT if name in recorded.columns))
    calls = calls.mutate(**{name: _[name].cast("string") for name in ("path", "path2", "name")})
    other = ibis.or_(*[_.path.startswith(prefix) for prefix in _NOT_FILES])
    plausible = ~other.fill_null(False) & ~_.path.contains(":[").fill_null(False)
    # Only some engines know how long a call was off the CPU; of a sync all of its time is waiting.
    took = _.exit_ns - _.enter_ns
    elapsed = ibis.ifelse(_.name.isin(WAITS), took, ibis.null("int64"))
    off_cpu = _.blocked_ns if "blocked_ns" in calls.columns else ibis.null("int64")
    return calls.mutate(
        ns=ibis.coalesce(_.exit_ns, _.enter_ns),
        took_ns=took,
        nr=ibis.ifelse(_.compat.fill_null(False), ibis.null("int16"), _.nr.cast("int16")),
        regular=ibis.cases((_.ftype.notnull(), _.ftype == REGULAR), (_.ofd.notnull(), plausible), else_=False),
        blocked_ns=ibis.coalesce(off_cpu, elapsed),
    ).drop("enter_ns", "exit_ns", "compat")


def derived(calls: Any) -> Any:
    """Every call that was `looked_at`, with `file`: its file's key, device and inode, or in strace text, which has
    neither, the path that the file was opened by.
    """
    import ibis
    from ibis import _

    named = ibis.ifelse(_.ofd.notnull() | _.size.notnull(), _.path.nullif(""), ibis.null("string"))
    identity = _.dev.cast("string").concat(":", _.ino.cast("string"))
    return calls.mutate(file=ibis.ifelse(_.ino.notnull(), identity, named))


@dataclass(frozen=True)
class Tables:
    """A capture's calls, processes and what is derived from them. Derived tables are computed once."""

    recorded: Any  # calls.parquet
    calls: Any  # the same, `looked_at` and `derived`; filter by name first
    recorded_processes: Any  # processes.parquet
    recorded_gaps: Any  # gaps.parquet
    extras: dict[str, Any] = field(default_factory=dict)  # tables that a capture need not have, by their file's name
    kept: list[Any] = field(default_factory=list)

    def keep(self, expression: Any) -> Any:
        cached = expression.cache()
        self.kept.append(cached)
        return cached

    def release(self) -> None:
        """Give back what was computed; it is computed again when asked for."""
        for cached in self.kept:
            cached.release()
        self.kept.clear()
        for name in [name for name, of in vars(type(self)).items() if isinstance(of, cached_property)]:
            self.__dict__.pop(name, None)

    def extra(self, name: str) -> Any:
        """A table that a capture need not have, or None."""
        return self.extras.get(name)

    @cached_property
    def programs(self) -> Any:
        """One row a process image: image, pid, program (the executable's name)."""
        import ibis
        from ibis import _

        exe = _.exe.cast("string").re_replace("^.*/", "")
        program = ibis.coalesce(exe.nullif(""), ibis.literal("?"))
        return self.recorded_processes.select("image", "pid", program=program)

    @cached_property
    def steps(self) -> Any:
        """Calls that wait, and those that make one of the `_PAIRS` with the call before them in their thread.

        In numbers only, since every call is looked at. Columns: seq, image, ofd, nr, ret, ns, regular; before,
        before_seq, before_ofd, before_ret, before_regular (the call before it); gap_ns (the time since that one ended).
        """
        import ibis
        from ibis import _

        rows = self.calls.select(
            "seq", "tid", "nr", "ret", "ns", "regular", image=_.image.cast("int32"), ofd=_.ofd.cast("int32")
        )
        here = ordered("image", "tid")
        rows = rows.mutate(
            before=_.nr.lag().over(here),
            before_seq=_.seq.lag().over(here),
            before_ofd=_.ofd.lag().over(here),
            before_ret=_.ret.lag().over(here),
            before_regular=_.regular.lag().over(here),
            gap_ns=_.ns - _.ns.lag().over(here),
        )
        pairs = [_.before.isin(numbers(*first)) & _.nr.isin(numbers(*then)) for first, then in _PAIRS]
        return self.keep(rows.filter(ibis.or_(_waits(), *pairs)).drop("tid"))

    @cached_property
    def waits(self) -> Any:
        """Calls that could wait, sends left out: image, tid, seq, ready (its events surely were there already)."""
        from ibis import _

        waiting = self.calls.filter(_.name.isin(WAITS) & ~_.name.isin(SENDS))
        ready = (_.name.isin(EVENT_WAITS) & (_.ret > 0) & (_.blocked_ns < _READY_NS)).fill_null(False)
        return self.keep(waiting.select("tid", "seq", image=_.image.cast("int32"), ready=ready))

    def waits_before(self, rows: Any, waits: Any) -> Any:
        """`rows` (with image, tid, seq), with `waits`: how many of these waits of its thread come before each.

        A receive counts as a wait of its own.
        """
        return rows.join(breaks_before(rows, waits, "image", "tid").rename(waits="breaks"), "seq")

    @cached_property
    def reads(self) -> Any:
        """Reads of regular files that succeeded, each with the one before it through the same description.

        Columns: image, ofd, seq, ns, dev, ret, asked (bytes), positional (pread), size, at (where it began; null where
        text does not tell); ended, got, wanted, since_ns (where the one before ended, its result, what it asked for,
        when).
        """
        import ibis
        from ibis import _

        reads = self.calls.filter(_.name.isin(("read", "pread64")), _.ret >= 0, _.regular, _.ofd.notnull())
        at = ibis.ifelse(_.name == "pread64", _.a3, _.offset - _.ret)
        reads = reads.select(
            "seq",
            "ns",
            "dev",
            "size",
            image=_.image.cast("int32"),
            ofd=_.ofd.cast("int32"),
            ret=_.ret.cast("int32"),
            asked=_.a2.clip(upper=_MOST_BYTES).cast("int32"),
            positional=_.name == "pread64",
            at=at,
        )
        here = ordered("image", "ofd")
        reads = reads.mutate(
            ended=(_["at"] + _.ret).lag().over(here),
            got=_.ret.lag().over(here),
            wanted=_.asked.lag().over(here),
            since_ns=_.ns.lag().over(here),
        )
        return self.keep(reads)

    @cached_property
    def send_runs(self) -> Any:
        """Sends through a socket with how many are in their run: one after the other, the thread not waiting between,
        and nothing got from that socket, since who waits for an answer asks again when it has come.

        Columns: image, ofd, seq, ns, ret, run (the number of sends in it), first (whether it begins the run), paced
        (whether in the run some send comes after a wait whose events were there), gathers (whether it is a write to a
        connection that its process accepted).
        """
        import ibis
        from ibis import _

        sends = self.calls.filter(_.name.isin(SENDS), ~_.regular, _.ofd.notnull(), _.ret > 0)
        sockets = self.calls.filter(_.ftype == SOCKET).select(ofd=_.ofd.cast("int32")).distinct()
        accepted = self.calls.filter(_.name.isin(("accept", "accept4")), _.ret >= 0)
        accepted = accepted.select(ofd=_.ofd.cast("int32"), by=_.image.cast("int32")).distinct()
        here = ordered("image", "ofd")
        sends = sends.select(
            "tid", "seq", "ns", "ret", "nr", image=_.image.cast("int32"), ofd=_.ofd.cast("int32")
        ).semi_join(sockets, "ofd")
        ready = self.waits_before(sends, self.waits.filter(_.ready)).select("seq", ready=_.waits)
        rows = self.waits_before(sends, self.waits.filter(~_.ready)).join(ready, "seq")
        got = self.calls.filter(_.name.isin(RECEIVES), _.ofd.notnull(), _.ret > 0)
        got = got.select("seq", image=_.image.cast("int32"), ofd=_.ofd.cast("int32")).semi_join(sockets, "ofd")
        rows = rows.join(breaks_before(sends, got, "image", "ofd").rename(heard="breaks"), "seq")
        same = (_.waits == _.waits.lag().over(here)) & (_.heard == _.heard.lag().over(here))
        rows = rows.mutate(first=~same.fill_null(False))
        rows = rows.mutate(number=_.first.cast("int64").sum().over(so_far("image", "ofd")))
        run = ibis.window(group_by=["image", "ofd", "number"])
        rows = rows.mutate(run=_.count().over(run), paced=_.ready.max().over(run) > _.ready.min().over(run))
        rows = rows.left_join(accepted, "ofd").drop("ofd_right")
        gathers = (_.nr.isin(numbers("write", "writev")) & (_.by == _.image)).fill_null(False)
        return self.keep(rows.select("image", "ofd", "seq", "ns", "ret", "run", "first", "paced", gathers=gathers))

    @cached_property
    def opens(self) -> Any:
        """One row an open that succeeded: ofd, image, pid, fd, seq, ns, path, flags, file, dev, regular, size."""
        import ibis
        from ibis import _

        creat = O_WRONLY | O_CREAT | O_TRUNC
        flags = ibis.cases(
            (_.name == "open", _.a1), (_.name == "openat", _.a2), (_.name == "creat", ibis.literal(creat))
        )
        opened = self.calls.filter(_.name.isin(OPENS), _.ret >= 0, _.ofd.notnull())
        return self.keep(
            opened.select(
                "ofd", "image", "pid", "seq", "ns", "path", "file", "dev", "regular", "size", fd=_.ret, flags=flags
            )
        )

    @cached_property
    def spans(self) -> Any:
        """One row an open file description: begin and end, who used it, what was written through it.

        Columns: ofd, begin_ns, end_ns, alone (one process used it), written (bytes), copied_in (bytes that
        copy_file_range or splice put in), largest (the largest size seen).
        """
        from ibis import _

        wrote = _.name.isin(WRITES) & (_.ret > 0)
        used = self.calls.filter(_.ofd.notnull())
        spans = used.group_by("ofd").aggregate(
            begin_ns=_.ns.min(),
            end_ns=_.ns.max(),
            alone=_.image.min() == _.image.max(),
            written=_.ret.sum(where=wrote).fill_null(0),
            largest=_.size.max(),
        )
        return self.keep(
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
        """Each open of a file that some open empties: seq; `before`, the size that the file was last seen to have, and
        `before_ns`, when; null if never. 0 where its name was removed since: a new file may have an old one's number.
        """
        import ibis
        from ibis import _

        seen = ibis.coalesce(_.size, ibis.ifelse(_.name.isin(WRITES) & (_.ret > 0), _.offset, ibis.null("int64")))
        emptied = self.opens.filter((_.flags & O_TRUNC) != 0, _.file.notnull()).select("file").distinct()
        rows = self.calls.mutate(seen=seen, opening=_.name.isin(OPENS) & (_.ret >= 0))
        rows = rows.filter(_.seen.notnull() | _.opening).filter(_.file.notnull()).semi_join(emptied, "file")
        after = ordered("file")
        rows = rows.mutate(
            before=_.seen.lag().over(after), before_ns=_.ns.lag().over(after), sight=_.seq.lag().over(after)
        )
        rows = rows.filter(_.opening).select("seq", "file", "before", "before_ns", "sight")
        return self.keep(self._but_removed(rows).select("seq", "before", "before_ns"))

    def _but_removed(self, opens: Any) -> Any:
        """`opens` (seq, file, before, sight: the seq of what told it), with 0 as `before` where that file is gone: a
        name by which it was opened was removed after it was seen.
        """
        import ibis
        from ibis import _

        removed = self.calls.filter(_.name.isin(REMOVES), _.ret == 0).select(gone=_.seq, path=_.path)
        names = self.opens.filter(_.file.notnull()).select("file", "path").distinct()
        removed = names.join(removed, "path").select("file", "gone")
        lost = opens.filter(_.sight.notnull()).join(removed, "file")
        lost = lost.filter(_.gone > _.sight, _.gone < _.seq).select("seq").distinct().mutate(lost=ibis.literal(True))
        opens = opens.left_join(lost, "seq").drop("seq_right")
        return opens.mutate(before=ibis.ifelse(_.lost.fill_null(False), 0, _.before))

    @cached_property
    def syncs(self) -> Any:
        """One row a sync of a regular file that succeeded: image, ofd, seq, ns, name, dev, file, blocked_ns."""
        from ibis import _

        synced = self.calls.filter(_.name.isin(SYNCS), _.ret == 0).filter(_.regular)
        return self.keep(synced.select("image", "ofd", "seq", "ns", "name", "dev", "file", "blocked_ns"))

    @cached_property
    def lookups(self) -> Any:
        """One row an examination of a path: image, seq, ns, name, at (which directory it starts from), path, ret."""
        import ibis
        from ibis import _

        asked = self.calls.filter(_.name.isin(EXAMINES), _.path.notnull(), _.path != "")
        at = ibis.ifelse(_.name.endswith("at") | _.name.isin(("statx", "faccessat2")), _.a0, ibis.literal(-100))
        return self.keep(asked.select("image", "seq", "ns", "name", "path", "ret", "size", at=at))

    @cached_property
    def images(self) -> Any:
        """One row a process image: image, pid, program (the executable's name), busy_ns, calls, begin_ns, end_ns.

        `busy_ns` is the time between its calls, waits left out: CPU time as nearly as a capture shows it; null
        without times.
        """
        from ibis import _

        threads = self.calls.group_by("image", "tid").aggregate(calls=_.count(), begin_ns=_.ns.min(), end_ns=_.ns.max())
        busy = threads.group_by("image").aggregate(
            between_ns=(_.end_ns - _.begin_ns).sum(where=_.calls > 1),
            calls=_.calls.sum(),
            begin_ns=_.begin_ns.min(),
            end_ns=_.end_ns.max(),
        )
        waited = self.steps.filter(_waits()).mutate(waited_ns=_.gap_ns - _.gap_ns.clip(upper=_WAIT_WORK_NS))
        waited = waited.group_by(image=_.image.cast("int64")).aggregate(waited_ns=_.waited_ns.sum())
        busy = busy.left_join(waited, "image").drop("image_right")
        busy = busy.mutate(busy_ns=_.between_ns - _.waited_ns.fill_null(0)).drop("between_ns", "waited_ns")
        return self.keep(
            busy.left_join(self.programs, "image").drop("image_right").mutate(program=_.program.fill_null("?"))
        )


#: the engine that is embedded
DUCKDB = "duckdb"
#: where Spark can run
_MASTER = re.compile(r"local(\[(\*|[1-9]\d*)(,\s*\d+)?\])?|spark://\S+:\d+\S*|yarn|k8s://\S+")


@contextmanager
def tables_of(capture: Capture, engine: str = DUCKDB) -> Iterator[Tables]:
    """The tables of a capture in an engine (`duckdb` or `spark:MASTER`), which hold as long as the context.

    Raises UsageError for another engine, CaptureError when reading finds the capture corrupt, EngineError when the
    engine fails or has too little memory, MissingToolError when it is not installed.
    """
    import ibis

    # For fifty detectors Ibis takes as long to make queries short as an engine to read the long ones.
    ibis.options.sql.fuse_selects = False
    master = spark_master(engine)
    if master is None:
        from peephole.diagnose.duck import duckdb_tables

        with duckdb_tables(capture) as tables:
            yield tables
    else:
        from peephole.diagnose.spark import spark_tables

        with spark_tables(capture, master) as tables:
            yield tables


def spark_master(engine: str) -> str | None:
    """Where Spark runs, None for DuckDB. Raises UsageError when `engine` is neither `duckdb` nor `spark:MASTER`."""
    if engine == DUCKDB:
        return None
    kind, _colon, master = engine.partition(":")
    # A cluster's own name says what it is: spark://host:7077 is meant as spark:spark://host:7077.
    master = engine if master.startswith("//") else master
    if kind != "spark" or not _MASTER.fullmatch(master):
        raise UsageError(
            f"--engine {engine}: not an engine; take duckdb, spark:local[N], or spark: and a cluster's master"
            " (spark://HOST:PORT, yarn, k8s://URL)"
        )
    return master

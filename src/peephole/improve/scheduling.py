"""`realtime_audio`: real-time priority, given from outside to threads that wake on a period.

This is scheduling and not a rewrite: no call of the program changes, nothing is proved, and nothing of Peephole need be
in the process. A thread counts as periodic when it gave up the processor by itself often and steadily (see `periodic`)
while its process was watched. It gets SCHED_FIFO at a low priority, its children do not inherit that, and a thread that
then wants most of a processor loses it again. What is given up is `timing`: others wait while such a thread runs.

It is undone by `detach`, and at the end of `improve` for whatever still runs. Memory is not locked.
"""

from __future__ import annotations

import contextlib
import os
import resource
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from peephole.errors import EngineError

NAME = "realtime_audio"
GIVES_UP = "timing"
#: below what audio servers give themselves (10), and rare enough to be known again by `restore`
PRIORITY = 7
POLICY = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
WINDOW_S = 0.2
WINDOWS = 3  # in a row, before a thread is believed
LEAST_PER_S = 50  # an audio cycle of 960 frames at 48 kHz
STEADY = 0.5  # the least window has at least this share of the greatest
HOG = 0.6  # share of one processor that no audio thread may need
CAP_SYS_NICE = 23  # linux/capability.h


def may_schedule() -> bool:
    """Whether we may give real-time priority."""
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        capabilities = int(next(line.split()[1] for line in lines if line.startswith("CapEff:")), 16)
        if capabilities >> CAP_SYS_NICE & 1:
            return True
    limit = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    return limit == resource.RLIM_INFINITY or limit >= PRIORITY


def check() -> None:
    """Raises EngineError, one line, when we may not."""
    if not may_schedule():
        raise EngineError(
            f"{NAME} needs CAP_SYS_NICE or a real-time limit (ulimit -r {PRIORITY}); run it as root, or raise the limit"
        )


@dataclass(frozen=True)
class Look:
    """One look at a thread: its own switches so far, and its CPU nanoseconds."""

    switches: int
    cpu_ns: int


@dataclass
class Given:
    """A thread that was given real-time priority."""

    pid: int
    tid: int
    name: str
    wakes_per_s: float
    taken_back: str | None = None


@dataclass
class _Seen:
    last: Look
    windows: list[int] = field(default_factory=list)


def periodic(windows: Sequence[int], window_s: float = WINDOW_S) -> bool:
    """Whether a thread that woke so often in each of the last windows wakes on a period."""
    recent = windows[-WINDOWS:]
    if len(recent) < WINDOWS or min(recent) < LEAST_PER_S * window_s:
        return False
    return min(recent) >= STEADY * max(recent)


def _look(pid: int, tid: int) -> Look | None:
    try:
        status = Path(f"/proc/{pid}/task/{tid}/status").read_text(errors="replace")
        switches = next(int(x.split()[1]) for x in status.splitlines() if x.startswith("voluntary_ctxt_switches:"))
        cpu_ns = int(Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()[0])
    except (OSError, StopIteration, ValueError, IndexError):
        return None
    return Look(switches, cpu_ns)


def threads_of(pid: int) -> list[int]:
    """The threads of a process; none when it is gone."""
    try:
        return [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []


def tree_of(pid: int) -> list[int]:
    """A process and all below it."""
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        for tid in threads_of(one):
            with contextlib.suppress(OSError):
                todo += map(int, Path(f"/proc/{one}/task/{tid}/children").read_text().split())
    return found


class Watch:
    """Watches the threads of processes, window by window, and gives the periodic ones real-time priority."""

    def __init__(self) -> None:
        self.given: dict[int, Given] = {}
        self._seen: dict[int, _Seen] = {}

    def window(self, pids: Sequence[int], window_s: float = WINDOW_S) -> None:
        """Look at every thread once; call it every `window_s` seconds."""
        for pid in pids:
            for tid in threads_of(pid):
                look = _look(pid, tid)
                if look is None:
                    continue
                before = self._seen.get(tid)
                if before is None:
                    self._seen[tid] = _Seen(look)
                    continue
                self._judge(pid, tid, before, look, window_s)
                before.last = look

    def _judge(self, pid: int, tid: int, before: _Seen, look: Look, window_s: float) -> None:
        share = (look.cpu_ns - before.last.cpu_ns) / 1e9 / window_s
        if tid in self.given:
            if share > HOG and self.given[tid].taken_back is None:
                self.given[tid].taken_back = f"it wanted {share:.0%} of a processor"
                restore_thread(tid)
            return
        before.windows.append(look.switches - before.last.switches)
        if share < HOG and periodic(before.windows, window_s):
            self._give(pid, tid, before.windows[-1] / window_s)

    def _give(self, pid: int, tid: int, wakes_per_s: float) -> None:
        with contextlib.suppress(OSError):
            if os.sched_getscheduler(tid) != os.SCHED_OTHER:
                return  # its own choice stays
            # Read first: from here on the thread runs before us, and may be gone when we do again.
            name = Path(f"/proc/{pid}/task/{tid}/comm").read_text(errors="replace").strip()
            os.sched_setscheduler(tid, POLICY, os.sched_param(PRIORITY))
            self.given[tid] = Given(pid, tid, name, round(wakes_per_s, 1))

    def report(self) -> list[dict[str, object]]:
        """What was given, for --stats."""
        return [
            {
                "rule": NAME,
                "kind": "scheduling",
                "pid": one.pid,
                "tid": one.tid,
                "thread": one.name,
                "wakes_per_s": one.wakes_per_s,
                "taken_back": one.taken_back,
            }
            for one in self.given.values()
        ]


def restore_thread(tid: int) -> bool:
    """Take back what `Watch` gave to a thread; False when it has nothing of ours."""
    try:
        if os.sched_getscheduler(tid) != POLICY or os.sched_getparam(tid).sched_priority != PRIORITY:
            return False
        os.sched_setscheduler(tid, os.SCHED_OTHER, os.sched_param(0))
    except OSError:
        return False
    return True


def restore(pid: int) -> int:
    """Take real-time priority back from every thread of a process that has it from us; how many."""
    return sum(restore_thread(tid) for tid in threads_of(pid))


def attach(pid: int) -> Watch:
    """Watch a running process for a second and give its periodic threads priority. Raises EngineError."""
    check()
    watch = Watch()
    if not threads_of(pid):
        raise EngineError(f"pid {pid}: no such process")
    for _ in range(WINDOWS + 2):
        watch.window([pid])
        time.sleep(WINDOW_S)
    return watch


class Beside:
    """Watches all that this process starts, on a thread, from enter to exit; then takes back what still runs."""

    def __init__(self) -> None:
        check()
        self.watch = Watch()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="realtime_audio", daemon=True)

    def _run(self) -> None:
        while not self._ended.wait(WINDOW_S):
            self.watch.window([pid for pid in tree_of(os.getpid()) if pid != os.getpid()])

    def __enter__(self) -> Beside:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for tid in self.watch.given:
            restore_thread(tid)

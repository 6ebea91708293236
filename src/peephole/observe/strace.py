"""Strace text of any flags as a capture's tables.

What text can't say stays null: the identity of files (dev, ino), the size after a write, the CPU. What it says in
pieces is put together: open file descriptions through dup, fork and exec, their paths and their positions. A call on
a descriptor carries in `path` the name its file was opened by, since a path is all the identity that text has;
a name relative to a directory that -y shows is completed by it.
Times are what the log has: of the day with -tt, since 1970 with -ttt, null without any.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from peephole.errors import CaptureError
from peephole.observe.capture import schema
from peephole.observe.strace_args import number, signed, string, strings
from peephole.observe.strace_files import SHAPES, Descriptors, Files, Row, Shape, path_of
from peephole.observe.strace_lines import Cut, Event, read
from peephole.observe.syscalls import NUMBERS
from peephole.trace import CALL_COLUMNS, GAP_COLUMNS, PROCESS_COLUMNS

_MODE = re.compile(rb"stx?_mode=S_IF(REG|DIR|LNK|CHR|BLK|IFO|FIFO|SOCK)\b")
_SIZE = re.compile(rb"stx?_size=(\d+)")
_FTYPES = {b"REG": 8, b"DIR": 4, b"LNK": 10, b"CHR": 2, b"BLK": 6, b"IFO": 1, b"FIFO": 1, b"SOCK": 12}
_FORKS = {"fork", "vfork", "clone", "clone3"}
_UNKNOWN = re.compile(r"syscall_0x([0-9a-f]+)$")
_CLONE_FILES, _CLONE_THREAD = b"CLONE_FILES", b"CLONE_THREAD"


@dataclass(frozen=True)
class Tables:
    """Arrow tables with the columns of `peephole.trace`, and how many events are known to be missing."""

    calls: Any
    processes: Any
    gaps: Any
    lost: int


@dataclass(slots=True)
class _Process:
    pid: int | None
    image: int
    compat: bool = False


@dataclass(slots=True)
class _Task:
    """One thread: its process, and the descriptor table that it may share with others."""

    process: _Process
    fds: Descriptors


def parse(lines: Iterable[bytes], pid: int | None = None) -> Tables:
    """The tables of strace text; `pid` is whose text it is, where the lines do not say (-ff).

    Raises CaptureError naming the first line that is not strace's. A last line that is cut off is left out and
    counted in `gaps`.
    """
    events: list[Event] = []
    cut = 0
    for event in read(lines):
        if isinstance(event, Cut):
            cut += 1
        else:
            events.append(event)
    return _Replay(events, pid).tables(cut)


class _Replay:
    """Walks the events in the order of the log, and keeps what each process then had open."""

    def __init__(self, events: list[Event], pid: int | None) -> None:
        self.events = events
        self.files = Files()
        _name_the_nameless(events, pid)
        self.births = _births(events)
        self.tasks: dict[int | None, _Task] = {}
        self.rows: dict[str, list[Any]] = {name: [] for name in CALL_COLUMNS}
        self.images: list[dict[str, Any]] = []
        self.last_ns: int | None = None

    def tables(self, cut: int) -> Tables:
        import pyarrow as pa

        for event in self.events:
            if event.kind == "call":
                self._call(event)
            elif event.kind == "exited":
                self._exited(event)
            elif event.kind == "superseded":
                self._superseded(event)
            elif event.kind == "personality":
                self._task(event.tid, None).process.compat = event.value == 32
        if not self.rows["seq"]:
            raise CaptureError("there is no system call in it; is it strace's output?")
        gaps: dict[str, list[Any]] = {name: [] for name in GAP_COLUMNS}
        if cut:
            for name, value in (("cpu", None), ("after_ns", self.last_ns), ("before_ns", None), ("missing", cut)):
                gaps[name].append(value)
        processes = {name: [image[name] for image in self.images] for name in PROCESS_COLUMNS}
        return Tables(
            pa.table(self.rows, schema=schema(CALL_COLUMNS)),
            pa.table(processes, schema=schema(PROCESS_COLUMNS)),
            pa.table(gaps, schema=schema(GAP_COLUMNS)),
            cut,
        )

    # -- processes ------------------------------------------------------------------------------------------------

    def _image(self, pid: int | None, ppid: int | None, start_ns: int | None) -> int:
        key = len(self.images) + 1
        image: dict[str, Any] = dict.fromkeys(PROCESS_COLUMNS)
        image.update(image=key, pid=pid, ppid=ppid, start_ns=start_ns)
        self.images.append(image)
        return key

    def _task(self, tid: int | None, now: int | None) -> _Task:
        """The thread, born on first sight: from the clone that returns its id, or out of nowhere."""
        task = self.tasks.get(tid)
        if task is not None:
            return task
        births = self.births.get(tid) if tid is not None else None
        parent_tid, text = births.pop(0) if births else (None, b"")
        parent = self.tasks.get(parent_tid) if births is not None else None
        if parent is None:
            process = _Process(tid, self._image(tid, None, now))
            task = _Task(process, Descriptors.standard(self.files))
        else:
            process = parent.process
            if _CLONE_THREAD not in text:
                process = _Process(tid, self._image(tid, parent.process.pid, now), parent.process.compat)
                mother = self.images[parent.process.image - 1]
                self.images[process.image - 1].update(exe=mother["exe"], argv=mother["argv"])
            shared = _CLONE_FILES in text
            task = _Task(process, parent.fds if shared else parent.fds.copy())
        self.tasks[tid] = task
        return task

    def _exited(self, event: Event) -> None:
        task = self.tasks.pop(event.tid, None)
        if task is not None and task.process.pid in (event.tid, None):
            self.images[task.process.image - 1].update(end_ns=event.exit_ns, exit_code=event.value)

    def _superseded(self, event: Event) -> None:
        other = self.tasks.pop(event.value, None)
        if other is not None and event.tid not in self.tasks:
            self.tasks[event.tid] = other

    def _executed(self, event: Event, task: _Task, args: list[bytes]) -> None:
        now = event.exit_ns if event.exit_ns is not None else event.enter_ns
        old = self.images[task.process.image - 1]
        at = 1 if event.name == "execveat" else 0
        exe = string(args[at]) if len(args) > at else None
        argv = strings(args[at + 1]) if len(args) > at + 1 and args[at + 1].startswith(b"[") else None
        if old["exe"] is None and old["ppid"] is None:  # the first line of a log: the image that strace started
            old.update(exe=exe, argv=argv)
        else:
            old["end_ns"] = now
            task.process.image = self._image(task.process.pid, old["ppid"], now)
            self.images[-1].update(exe=exe, argv=argv)
        task.fds = task.fds.copy()
        task.fds.close_on_exec()

    # -- calls ----------------------------------------------------------------------------------------------------

    def _call(self, event: Event) -> None:
        task = self._task(event.tid, event.enter_ns)
        args = event.args or []
        ret = event.ret
        if event.name in _FORKS and ret is not None and ret > 0 and self.births.get(ret):
            # A child that has not been heard of inherits what is open now, before its parent goes on.
            self._task(ret, event.exit_ns if event.exit_ns is not None else event.enter_ns)
        row = self.files.call(event.name, args, ret, event.ret_name, task.fds)
        image = task.process.image
        if event.name in ("execve", "execveat") and ret == 0:
            self._executed(event, task, args)
        add = self._adder(event, task, image, args)
        ftype, size = _stat(event.name, args, ret)
        shape = SHAPES.get(event.name, Shape())
        if ftype is not None and shape.path and row.path is None:  # about what the path names, not about its directory
            row = Row()
        add("ofd", row.ofd)
        add("ftype", row.ftype if ftype is None else ftype)
        add("size", size)
        add("offset", row.offset)
        add("path", path_of(args, shape.path) if shape.path else row.path)
        add("path2", path_of(args, shape.second))

    def _adder(self, event: Event, task: _Task, image: int, args: list[bytes]) -> Any:
        rows = self.rows

        def add(name: str, value: Any) -> None:
            rows[name].append(value)

        if event.exit_ns is not None:
            self.last_ns = event.exit_ns
        elif event.enter_ns is not None:
            self.last_ns = event.enter_ns
        unknown = _UNKNOWN.match(event.name)
        add("seq", len(rows["seq"]))
        add("cpu", None)
        add("pid", task.process.pid)
        add("tid", event.tid)
        add("image", image)
        add("enter_ns", event.enter_ns)
        add("exit_ns", event.exit_ns)
        compat = task.process.compat
        add("nr", int(unknown[1], 16) if unknown else None if compat else NUMBERS.get(event.name))
        add("name", event.name)
        for at in range(6):
            add(f"a{at}", number(args[at]) if at < len(args) else None)
        add("ret", event.ret)
        add("ip", event.ip)
        add("dev", None)
        add("ino", None)
        add("compat", compat)
        for name in ("blocked_ns", "switches", "address", "stack"):
            add(name, None)
        return add


def _births(events: list[Event]) -> dict[int | None, list[tuple[int | None, bytes]]]:
    """child -> who cloned it and with which words, in the order of the log (ids are used again)."""
    births: dict[int | None, list[tuple[int | None, bytes]]] = {}
    for event in events:
        if event.kind == "call" and event.name in _FORKS and event.ret is not None and event.ret > 0:
            births.setdefault(event.ret, []).append((event.tid, b", ".join(event.args or [])))
    return births


def _name_the_nameless(events: list[Event], pid: int | None) -> None:
    """On a terminal, strace -f names a thread only while there is more than one: the rest are the one that is left."""
    children = {event.ret for event in events if event.kind == "call" and event.name in _FORKS}
    named = (event.tid for event in events if event.tid is not None and event.tid not in children)
    root = pid if pid is not None else next(named, None)
    alive = {root}
    for event in events:
        if event.tid is None:
            event.tid = root if len(alive) != 1 else next(iter(alive))
        if event.kind == "exited":
            alive.discard(event.tid)
        else:
            alive.add(event.tid)


def _stat(name: str, args: list[bytes], ret: int | None) -> tuple[int | None, int | None]:
    """File type and size, where the call itself reports them."""
    if ret != 0 or "stat" not in name or "statfs" in name:
        return None, None
    for arg in args:
        if arg.startswith(b"{"):
            mode, size = _MODE.search(arg), _SIZE.search(arg)
            return _FTYPES[mode[1]] if mode else None, signed(int(size[1])) if size else None
    return None, None

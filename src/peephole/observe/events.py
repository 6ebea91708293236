"""The process events of a spill: which image was born of which, and when it ended."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from peephole.observe.records import EXEC, EXIT, FORK, JOINED, OPENED, RING_DONE, RING_SUBMIT
from peephole.trace import PROCESS_COLUMNS

_EVENT = struct.Struct("<qQIIIiiiiHHIIIiQq")


@dataclass(frozen=True)
class Event:
    """One struct ph_event with its bytes cut apart."""

    ns: int
    file: int
    type: int
    image: int
    prev_image: int
    pid: int
    ppid: int
    tid: int
    status: int
    name: bytes
    exe: bytes | None
    argv: list[bytes]
    pid_ns: int
    ns_pid: int
    user_data: int
    result: int


@dataclass
class Tree:
    """What the events say: rows of processes.parquet, and what the calls need to be understood."""

    processes: list[dict[str, Any]] = field(default_factory=list)
    replaced: dict[int, int] = field(default_factory=dict)  # image -> the one it replaced by exec
    exec_names: dict[int, bytes] = field(default_factory=dict)  # image -> exec's path as passed
    process_of: dict[int, int] = field(default_factory=dict)  # image -> first image of the same process
    forks: dict[int, tuple[int, int]] = field(default_factory=dict)  # process -> (parent process, when)
    opened: list[tuple[int, int, int, int]] = field(default_factory=list)  # (when, process, fd, file)
    joined: dict[int, int] = field(default_factory=dict)  # image -> its number as the recorder sees it
    operations: list[Event] = field(default_factory=list)  # io_uring, in the order of time


def read(spill: bytes) -> Iterator[Event]:
    """The events in `spill`; a last one that is cut off is left out."""
    at = 0
    while at + _EVENT.size <= len(spill):
        *numbers, name_len, exe_len, argv_len, _full, pid_ns, ns_pid, data, result = _EVENT.unpack_from(spill, at)
        end = at + _EVENT.size + name_len + exe_len + argv_len
        if end > len(spill):
            return
        start = at + _EVENT.size
        name = spill[start : start + max(name_len - 1, 0)]
        names = spill[start + name_len : start + name_len + exe_len].split(b"\0")[:-1]
        argv = spill[start + name_len + exe_len : end]
        ns, file, kind, image, prev_image, pid, ppid, tid, status = numbers
        exe = b"/" + b"/".join(reversed(names)) if names else None
        words = argv.removesuffix(b"\0").split(b"\0") if argv else []
        facts = (pid_ns, ns_pid, data, result)
        yield Event(ns, file, kind, image, prev_image, pid, ppid, tid, status, name, exe, words, *facts)
        at += (end - at + 7) & ~7


def tree(events: Iterator[Event]) -> Tree:
    """The process tree; an image whose beginning was lost is missing."""
    result = Tree()
    rows: dict[int, dict[str, Any]] = {}
    for event in sorted(events, key=lambda e: e.ns):
        if event.type == FORK:
            _fork(result, rows, event)
        elif event.type == EXEC:
            _exec(result, rows, event)
        elif event.type == JOINED:
            _row(rows, event).update(exe=event.exe, start_ns=None)
            result.process_of[event.image] = event.image
            result.joined[event.image] = event.tid
        elif event.type in (RING_SUBMIT, RING_DONE):
            result.operations.append(event)
        elif event.type == EXIT and event.image in rows:
            rows[event.image].update(end_ns=event.ns, exit_code=event.status)
        elif event.type == OPENED:
            process = result.process_of.get(event.image, event.image)
            result.opened.append((event.ns, process, event.status, event.file))
    result.processes = list(rows.values())
    return result


def _row(rows: dict[int, dict[str, Any]], event: Event) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(PROCESS_COLUMNS)
    row.update(image=event.image, pid=event.pid, ppid=event.ppid, start_ns=event.ns)
    row.update(pid_ns=event.pid_ns or None, ns_pid=event.ns_pid or None)
    rows[event.image] = row
    return row


def _fork(result: Tree, rows: dict[int, dict[str, Any]], event: Event) -> None:
    parent = rows.get(event.prev_image, {})
    _row(rows, event).update(exe=parent.get("exe"), argv=parent.get("argv"))
    result.process_of[event.image] = event.image
    result.forks[event.image] = (result.process_of.get(event.prev_image, event.prev_image), event.ns)


def _exec(result: Tree, rows: dict[int, dict[str, Any]], event: Event) -> None:
    if event.image != event.prev_image:  # the command's own first exec keeps its number
        result.replaced[event.image] = event.prev_image
        if event.prev_image in rows:
            rows[event.prev_image]["end_ns"] = event.ns
    result.process_of[event.image] = result.process_of.get(event.prev_image, event.prev_image)
    result.exec_names[event.image] = event.name
    _row(rows, event).update(exe=event.exe or event.name, argv=event.argv)

"""Process images from what processes wrote of themselves: their calls, and the starts of their programs."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from peephole.observe.records import EXEC, EXIT, FORK, NO_RETURN

_EVENT = struct.Struct("<qQIIIiiiiHHIIIiQq")
_FORKS = (56, 57, 58, 435)  # clone, fork, vfork, clone3: a thread's number is nobody's pid
_EXIT_GROUP, _EXIT = 231, 60


@dataclass(frozen=True)
class Begun:
    """The start of an image, in nanoseconds."""

    ns: int
    pid: int
    ppid: int
    name: bytes
    exe: bytes
    argv: bytes


def assign(calls: Any, begun: Sequence[Begun], root_status: int | None) -> bytes:
    """Write the image of each call into `calls`; the events of the tree, as a spill has them.

    `root_status` is the wait status of the process that began first. A process begins with its first record; one whose
    number was used before begins after the end of that one, when a call that makes processes has returned the number
    again. What ended without exit_group (killed) has no end.
    """
    return _Images(calls, begun, root_status).events()


class _Images:
    def __init__(self, calls: Any, begun: Sequence[Begun], root_status: int | None) -> None:
        self.calls, self.root_status = calls, root_status
        self.starts: dict[int, list[Begun]] = {}
        for one in sorted(begun, key=lambda b: b.ns):
            self.starts.setdefault(one.pid, []).append(one)
        self.order = np.lexsort((calls["exit_ns"], calls["pid"]))
        pids = calls["pid"][self.order]
        self.firsts = np.flatnonzero(np.append(True, pids[1:] != pids[:-1])) if len(pids) else np.zeros(0, np.int64)
        self.lasts = np.append(self.firsts[1:], len(pids)) if len(pids) else self.firsts
        made = np.flatnonzero(np.isin(calls["nr"], _FORKS) & (calls["ret"] > 0))
        self.makers: dict[int, list[tuple[int, int]]] = {}  # child -> (when, parent)
        for row in made[np.argsort(calls["exit_ns"][made], kind="stable")].tolist():
            self.makers.setdefault(int(calls["ret"][row]), []).append(
                (int(calls["exit_ns"][row]), int(calls["pid"][row]))
            )
        self.image = 0
        self.at: dict[int, list[tuple[int, int]]] = {}  # pid -> (since, image)
        self.out: list[bytes] = []

    def events(self) -> bytes:
        # By the time of their first record, so that a parent's image is known before its child's.
        begins = [int(self.calls["exit_ns"][self.order[first]]) for first in self.firsts]
        for number, i in enumerate(np.argsort(begins, kind="stable").tolist()):
            rows = self.order[self.firsts[i] : self.lasts[i]]
            for process in self._split(rows):
                self._process(process, number == 0)
        return b"".join(self.out)

    def _split(self, rows: Any) -> list[Any]:
        """The records of one number, process by process."""
        calls, pid = self.calls, int(self.calls["pid"][rows[0]])
        makers = [when for when, _ in self.makers.get(pid, [])]
        ends = np.flatnonzero(calls["nr"][rows] == _EXIT_GROUP).tolist()
        cuts = [
            end + 1
            for end in ends
            if end + 1 < len(rows) and any(int(calls["exit_ns"][rows[end]]) < when for when in makers)
        ]
        return np.split(rows, cuts)

    def _process(self, rows: Any, root: bool) -> None:
        calls = self.calls
        pid, since = int(calls["pid"][rows[0]]), int(calls["exit_ns"][rows[0]])
        until = int(calls["exit_ns"][rows[-1]])
        starts = [one for one in self.starts.get(pid, []) if since <= one.ns <= until]
        maker = [(when, parent) for when, parent in self.makers.get(pid, []) if when <= until]
        ppid = maker[-1][1] if maker else starts[0].ppid if starts else 0
        bounds: list[tuple[int, int]] = []
        if not (root and starts and starts[0].ns == since):
            self.image += 1
            bounds.append((since, self.image))
            parent = self._image_at(ppid, since)
            self._add(since - 1, FORK, self.image, parent, pid, ppid)
        for one in starts:
            old = self.image if bounds else self.image + 1
            self.image += 1
            self._add(one.ns, EXEC, self.image, old, pid, ppid, one)
            bounds.append((one.ns, self.image))
        self.at[pid] = bounds
        which = np.searchsorted([when for when, _ in bounds], calls["exit_ns"][rows], side="right") - 1
        calls["image"][rows] = np.array([image for _, image in bounds])[np.maximum(which, 0)]
        self._end(rows, bounds[-1][1], pid, root)

    def _image_at(self, pid: int, ns: int) -> int:
        found = [image for since, image in self.at.get(pid, []) if since <= ns]
        return found[-1] if found else 0

    def _end(self, rows: Any, image: int, pid: int, root: bool) -> None:
        calls = self.calls
        ends = rows[np.isin(calls["nr"][rows], (_EXIT_GROUP, _EXIT)) & ((calls["flags"][rows] & NO_RETURN) != 0)]
        last = rows[-1]
        group = [row for row in ends.tolist() if calls["nr"][row] == _EXIT_GROUP or row == last]
        if group:
            ns, status = int(calls["exit_ns"][group[0]]), (int(calls["args"][group[0], 0]) & 0xFF) << 8
        elif root and self.root_status is not None:
            ns, status = int(calls["exit_ns"][last]), self.root_status
        else:
            return
        self._add(max(ns, int(calls["exit_ns"][last])), EXIT, image, 0, pid, 0, status=status)

    def _add(
        self,
        ns: int,
        kind: int,
        image: int,
        old: int,
        pid: int,
        ppid: int,
        start: Begun | None = None,
        status: int = 0,
    ) -> None:
        name = start.name + b"\0" if start else b""
        exe = b"".join(word + b"\0" for word in reversed(start.exe.split(b"/")[1:])) if start else b""
        argv = start.argv if start else b""
        head = (ns, 0, kind, image, old, pid, ppid, pid, status, len(name), len(exe), len(argv), len(argv), 0, 0, 0, 0)
        body = name + exe + argv
        self.out.append(_EVENT.pack(*head) + body + bytes(-(_EVENT.size + len(body)) % 8))

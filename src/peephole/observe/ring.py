"""The ring that programs write their calls to (core/include/peephole/abi_ring.h), and its reader: it spills."""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from peephole import native
from peephole.observe.records import CALL, TIMED

MAGIC, VERSION = 0x474E495250454550, 1
PAGE, SLOT_BYTES, CALL_KIND, START_KIND = 4096, 120, 1, 2
CONTINUED = np.uint64(1 << 63)
#: of a lane: a burst of a million calls fits; less where there are many, since programs have all of them mapped
DEFAULT_BYTES = max(4 << 20, min(128 << 20, (1 << 30) // (os.cpu_count() or 1)))
_IDLE_S, _CLOCK_S, _BATCH, _DEAD_S = 0.005, 1.0, 1 << 16, 0.2

SLOT = np.dtype(
    [
        ("ready", "<u8"),
        ("claim", "<u8"),
        ("lost", "<u8"),
        ("enter", "<u8"),
        ("exit", "<u8"),
        ("ret", "<i8"),
        ("ip", "<i8"),
        ("nr", "<i4"),
        ("tid", "<i4"),
        ("pid", "<i4"),
        ("path_len", "<u2"),
        ("path2_len", "<u2"),
        ("kind", "u1"),
        ("flags", "u1"),
        ("pad", "V6"),
        ("args", "<i8", (6,)),
    ]
)
LANE = np.dtype([("head", "<u8"), ("lost", "<u8"), ("unread", "<u8"), ("pad", "V40"), ("tail", "<u8"), ("pad2", "V56")])
assert SLOT.itemsize == 128 and LANE.itemsize == 128


@dataclass(frozen=True)
class Start:
    """The start of a program's image: what exec was given, and what it became."""

    ticks: int
    pid: int
    ppid: int
    name: bytes
    exe: bytes
    argv: bytes


@dataclass
class _Lane:
    slots: Any
    numbers: Any  # one LANE, in the file
    tail: int = 0
    records: int = 0
    lost: int = 0  # as far as the last record knew
    holes: int = 0  # records of processes that were killed while they wrote them
    stuck_since: float = 0.0


class Clock:
    """Ticks of the time stamp counter against CLOCK_MONOTONIC, by points taken now and then."""

    def __init__(self) -> None:
        library = ctypes.CDLL(str(native.path("libpeephole.so")))
        self._read = library.ph_ring_clock
        self._points: list[tuple[int, int]] = []

    def tick(self) -> None:
        """Take a point."""
        pair = (ctypes.c_uint64 * 2)()
        self._read(pair)
        self._points.append((pair[0], pair[1]))

    def ns(self, ticks: Any) -> Any:
        """CLOCK_MONOTONIC in nanoseconds, int64; between two points time goes evenly."""
        base_ticks, base_ns = self._points[0]
        at = np.array([point[0] - base_ticks for point in self._points], dtype=np.float64)
        ns = np.array([point[1] - base_ns for point in self._points], dtype=np.float64)
        asked = (ticks.astype(np.int64) - base_ticks).astype(np.float64)
        return np.rint(np.interp(asked, at, ns)).astype(np.int64) + base_ns


@dataclass
class Ring:
    """The file, mapped, and what has been read of it: `folder` gets calls.raw (times in ticks) and paths.raw."""

    path: Path
    folder: Path
    bytes_per_lane: int = DEFAULT_BYTES
    starts: list[Start] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)  # pids

    def __post_init__(self) -> None:
        lanes = os.cpu_count() or 1
        slots = 1 << max((self.bytes_per_lane // SLOT.itemsize).bit_length() - 1, 4)
        lanes_bytes = -(-lanes * LANE.itemsize // PAGE) * PAGE
        size = PAGE + lanes_bytes + lanes * slots * SLOT.itemsize
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, size)
            self._map = mmap.mmap(fd, size)
        finally:
            os.close(fd)
        self._head = np.frombuffer(self._map, dtype="<u4", count=8)
        numbers = np.frombuffer(self._map, dtype=LANE, count=lanes, offset=PAGE)
        places = np.frombuffer(self._map, dtype=SLOT, offset=PAGE + lanes_bytes).reshape(lanes, slots)
        self._lanes = [_Lane(places[i], numbers[i : i + 1]) for i in range(lanes)]
        self._slots = slots
        self._head[2:7] = (VERSION, lanes, slots, 0, 1)
        self._head[:2] = (MAGIC & 0xFFFFFFFF, MAGIC >> 32)
        self._calls = (self.folder / "calls.raw").open("xb")
        self._paths = (self.folder / "paths.raw").open("xb")
        self._clock = Clock()
        self._clock.tick()
        self._stop = threading.Event()
        self.error: OSError | None = None
        self._worker = threading.Thread(target=self._follow, daemon=True)
        self._worker.start()

    def finish(self) -> Clock:
        """Read what is left; nothing is written from then on. Raises OSError when the spill could not be written."""
        self._stop.set()
        self._worker.join()
        self._head[6] = 0
        for final in (False, True):  # a writer may have been between looking and taking
            time.sleep(_IDLE_S)
            self._drain(final)
        self._clock.tick()
        self._calls.close()
        self._paths.close()
        if self.error:
            raise self.error
        return self._clock

    def counts(self) -> list[list[int]]:
        """For each lane what end.json says of a CPU: the last number, and how many paths could not be read."""
        numbers = [(lane, int(lane.numbers["lost"][0]), int(lane.numbers["unread"][0])) for lane in self._lanes]
        return [[lane.records + lane.holes + lost, lost, 0, unread, 0] for lane, lost, unread in numbers]

    def _follow(self) -> None:
        ticked = time.monotonic()
        while not self._stop.is_set():
            if not self._drain(False):
                self._stop.wait(_IDLE_S)
            if time.monotonic() - ticked > _CLOCK_S:
                ticked = time.monotonic()
                self._clock.tick()

    def _drain(self, final: bool) -> int:
        """Read once through all lanes; how many slots there were. `final`: nobody writes any more."""
        total = 0
        for at, lane in enumerate(self._lanes):
            while self.error is None:
                try:
                    n = self._batch(at, lane, final)
                except OSError as e:
                    self.error = e
                    self._head[6] = 0
                    break
                total += n
                if n == 0:
                    break
        return total

    def _batch(self, at: int, lane: _Lane, final: bool) -> int:
        head = int(lane.numbers["head"][0])
        n = min(head - lane.tail, _BATCH)
        if n <= 0:
            return 0
        places = np.arange(lane.tail, lane.tail + n, dtype=np.uint64)
        where = (places & np.uint64(self._slots - 1)).astype(np.int64)
        ready = lane.slots["ready"][where]
        wrong = np.flatnonzero((ready & ~CONTINUED) != places + np.uint64(1))
        n = int(wrong[0]) if len(wrong) else n
        firsts = np.flatnonzero((ready[:n] & CONTINUED) == 0)
        if len(firsts) == 0:
            return self._stuck(lane, int(where[0]), final)
        block = lane.slots[where[:n]]
        # The last record may go on behind this batch.
        last = int(firsts[-1])
        if last + (int(block["claim"][last]) >> 22 & 0x3FF) > n:
            if len(firsts) == 1:
                return self._stuck(lane, int(where[0]), final)
            n, firsts = last, firsts[:-1]
        self._spill(at, lane, block[:n], firsts)
        lane.tail += n
        lane.stuck_since = 0.0
        lane.numbers["tail"][0] = lane.tail
        return n

    def _stuck(self, lane: _Lane, where: int, final: bool) -> int:
        """The next record is not there yet; its writer may be dead. How many slots are given up."""
        claim = int(lane.slots["claim"][where])
        mine = claim >> 32 == lane.tail & 0xFFFFFFFF
        now = time.monotonic()
        lane.stuck_since = lane.stuck_since or now
        if not final and (now - lane.stuck_since < _DEAD_S or not mine or _alive(claim & 0x3FFFFF)):
            return 0
        lane.holes += 1
        n = max(claim >> 22 & 0x3FF, 1) if mine else 1
        lane.tail += n
        lane.numbers["tail"][0] = lane.tail
        lane.stuck_since = 0.0
        return n

    def _spill(self, at: int, lane: _Lane, block: Any, firsts: Any) -> None:
        records = block[firsts]
        lost = np.maximum(np.maximum.accumulate(records["lost"].astype(np.int64)), lane.lost)
        rows = np.zeros(len(records), dtype=CALL)
        rows["seq"] = lane.records + lane.holes + 1 + np.arange(len(records)) + lost
        lane.records += len(records)
        lane.lost = int(lost[-1])
        for name in ("nr", "tid", "pid", "flags", "ret", "ip", "args", "path_len", "path2_len"):
            rows[name] = records[name]
        rows["cpu"] = at
        rows["exit_ns"], rows["enter_ns"] = records["exit"], records["enter"]
        rows["flags"] |= TIMED
        starts = records["kind"] == START_KIND
        if starts.any():
            rows["path_len"][starts] = rows["path2_len"][starts] = 0
            rows["args"][starts] = 0
        ends = np.append(firsts[1:], len(block))
        long = np.flatnonzero(ends - firsts > 1)
        raw = block.view(np.uint8).reshape(len(block), SLOT.itemsize)
        pieces = []
        for i in long.tolist():
            one = records[i]
            text = raw[firsts[i] + 1 : ends[i], 8:].tobytes()
            first, second = int(one["path_len"]), int(one["path2_len"])
            if one["kind"] == START_KIND:
                self._started(one, text, first, second)
            else:
                pieces += [text[: max(first - 1, 0)], text[first : first + max(second - 1, 0)]]
        self.seen.update(np.unique(records["pid"]).tolist())
        self._calls.write(rows.tobytes())
        self._paths.write(b"".join(pieces))

    def _started(self, one: Any, text: bytes, first: int, second: int) -> None:
        argv = text[first + second : first + second + int(one["args"][0])]
        name, exe = text[: max(first - 1, 0)], text[first : first + max(second - 1, 0)]
        self.starts.append(Start(int(one["exit"]), int(one["pid"]), int(one["args"][1]), name, exe, argv))

    def living(self) -> list[int]:
        """Processes that were seen and still run."""
        return [pid for pid in self.seen if _alive(pid)]


def _alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False

"""Perfetto's own format: protobuf, a track for each thread (protos/perfetto/trace/trace.proto).

Written by hand: of the whole schema a dozen fields are needed, and the library would be a large dependency.
"""

from __future__ import annotations

from typing import BinaryIO

from peephole.observe.decode import text
from peephole.report.exports.slices import Process, processes, slices
from peephole.trace import Capture

_SEQUENCE = 1
_BEGIN, _END = 1, 2
_CLOCK_MONOTONIC = 3
_INCREMENTAL_CLEARED, _NEEDS_INCREMENTAL = 1, 2
_FLUSH_BYTES = 1 << 20


def _varint(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode("utf-8", "replace"))


def _packet(body: bytes) -> bytes:
    return _bytes(1, body + _number(10, _SEQUENCE))  # Trace.packet; TracePacket.trusted_packet_sequence_id


def _process_track(process: Process) -> bytes:
    words = b"".join(_text(2, word) for word in process.argv)
    described = _number(1, process.pid) + words + _text(6, process.name)  # ProcessDescriptor
    return _packet(_bytes(60, _number(1, _process_uuid(process.pid)) + _bytes(3, described)))


def _thread_track(pid: int, tid: int, name: str) -> bytes:
    described = _number(1, pid) + _number(2, tid) + _text(5, name)  # ThreadDescriptor
    body = _number(1, _thread_uuid(pid, tid)) + _number(5, _process_uuid(pid)) + _bytes(4, described)
    return _packet(_bytes(60, body))  # TracePacket.track_descriptor


def _process_uuid(pid: int) -> int:
    return pid << 32 | 1


def _thread_uuid(pid: int, tid: int) -> int:
    return pid << 32 | tid << 1 | 1 << 62


def _annotation(name: str, value: str | int) -> bytes:
    said = _number(4, value) if isinstance(value, int) else _text(6, value)  # int_value, string_value
    return _bytes(4, _text(10, name) + said)  # TrackEvent.debug_annotations


def write(capture: Capture, file: BinaryIO) -> int:
    """A slice for each call, with its decoded text and result; how many."""
    known = processes(capture)
    out = bytearray(_packet(_number(41, _INCREMENTAL_CLEARED) + _bytes(59, _number(58, _CLOCK_MONOTONIC))))
    for process in known.values():
        out += _process_track(process)
    names: dict[str, int] = {}
    threads: set[tuple[int, int]] = set()
    count = 0
    for s in slices(capture):
        pid, tid, name = s.row["pid"] or 0, s.row["tid"] or 0, s.row["name"]
        if (pid, tid) not in threads:
            threads.add((pid, tid))
            out += _thread_track(pid, tid, known[pid].name if pid in known else str(tid))
        interned = b""
        if name not in names:
            names[name] = len(names) + 1
            interned = _bytes(12, _bytes(2, _number(1, names[name]) + _text(2, name)))  # InternedData.event_names
        track = _number(11, _thread_uuid(pid, tid))
        event = _number(9, _BEGIN) + track + _number(10, names[name]) + _annotation("call", text(s.row))
        if s.row["ret"] is not None:
            event += _annotation("ret", s.row["ret"])
        if s.estimated:
            event += _annotation("start", "estimated")
        state = _number(13, _NEEDS_INCREMENTAL)
        out += _packet(_number(8, s.start_ns) + interned + state + _bytes(11, event))
        out += _packet(_number(8, s.end_ns) + state + _bytes(11, _number(9, _END) + track))
        count += 1
        if len(out) > _FLUSH_BYTES:
            file.write(out)
            out.clear()
    file.write(out)
    return count

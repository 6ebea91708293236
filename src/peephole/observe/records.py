"""The layouts of a spill: core/include/peephole/abi_record.h, Python side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

RECORD_VERSION = 3

# struct ph_call, as it is in calls.raw
CALL = np.dtype(
    [
        ("exit_ns", "<i8"),
        ("seq", "<u4"),
        ("nr", "<i4"),
        ("tid", "<i4"),
        ("image", "<u4"),
        ("pid", "<i4"),
        ("cpu", "<u2"),
        ("flags", "u1"),
        ("ftype", "u1"),
        ("ret", "<i8"),
        ("ip", "<i8"),
        ("args", "<i8", (6,)),
        ("file", "<u8"),
        ("ino", "<i8"),
        ("size", "<i8"),
        ("offset", "<i8"),
        ("fd", "<i4"),
        ("dev", "<u4"),
        ("path_len", "<u2"),
        ("path2_len", "<u2"),
        ("address_len", "<u2"),
        ("stack_len", "<u2"),
        ("enter_ns", "<i8"),
        ("blocked_ns", "<i8"),
        ("switches", "<u4"),
        ("stack", "<u4"),
    ]
)

# enum ph_call_flags
COMPAT, FILE, NO_RETURN, NO_ARGS, CREATED, TIMED = 1, 2, 4, 8, 16, 32

# struct ph_event, without the bytes that follow it
EVENT = np.dtype(
    [
        ("ns", "<i8"),
        ("file", "<u8"),
        ("type", "<u4"),
        ("image", "<u4"),
        ("prev_image", "<u4"),
        ("pid", "<i4"),
        ("ppid", "<i4"),
        ("tid", "<i4"),
        ("status", "<i4"),
        ("name_len", "<u2"),
        ("exe_len", "<u2"),
        ("argv_len", "<u4"),
        ("argv_full", "<u4"),
        ("pid_ns", "<u4"),
        ("ns_pid", "<i4"),
        ("user_data", "<u8"),
        ("result", "<i8"),
    ]
)

# enum ph_event_type
FORK, EXEC, EXIT, OPENED, JOINED, RING_SUBMIT, RING_DONE = 1, 2, 3, 4, 5, 6, 7

# struct ph_sample, as it is spilled
SAMPLE = np.dtype(
    [
        ("ns", "<i8"),
        ("ip", "<i8"),
        ("pid", "<i4"),
        ("tid", "<i4"),
        ("image", "<u4"),
        ("nr", "<i4"),
        ("cpu", "<u2"),
        ("in_kernel", "u1"),
        ("compat", "u1"),
        ("stack_len", "<u2"),
        ("reserved", "<u2"),
        ("stack", "<u4"),
        ("lost", "<u4"),
    ]
)

assert CALL.itemsize == 168 and EVENT.itemsize == 80 and SAMPLE.itemsize == 48


#: records looked at together: few enough to stay in a core's own cache
_PIECE = 4096


def apart(records: Any, names: Iterable[str], order: Any = None) -> dict[str, Any]:
    """These fields of the records (taken in `order`), each an array of its own; of "args", one row an argument.

    A field of records that lie in a file costs a cache line a record, as many times as there are fields; so all of
    them are taken from a piece of the file before the next one.
    """
    n = len(records) if order is None else len(order)
    if order is not None and n and int(order[-1]) - int(order[0]) + 1 == n and bool((np.diff(order) == 1).all()):
        records, order = records[int(order[0]) : int(order[-1]) + 1], None  # one CPU's: nothing to put in order
    kinds = {name: records.dtype[name] for name in names}
    found = {name: np.empty((*kind.shape, n), kind.base) for name, kind in kinds.items()}
    for start in range(0, n, _PIECE):
        piece = records[start : start + _PIECE] if order is None else records.take(order[start : start + _PIECE])
        for name, column in found.items():
            column[..., start : start + _PIECE] = piece[name].T
    return found

"""The layouts of a spill: core/include/peephole/abi_record.h, Python side."""

from __future__ import annotations

import numpy as np

RECORD_VERSION = 1

# struct ph_call
CALL = np.dtype(
    [
        ("exit_ns", "<i8"),
        ("seq", "<u4"),
        ("cpu", "<u2"),
        ("flags", "u1"),
        ("ftype", "u1"),
        ("tid", "<i4"),
        ("pid", "<i4"),
        ("image", "<u4"),
        ("nr", "<i4"),
        ("path_len", "<u2"),
        ("path2_len", "<u2"),
        ("dev", "<u4"),
        ("ret", "<i8"),
        ("ip", "<i8"),
        ("args", "<i8", (6,)),
        ("file", "<u8"),
        ("ino", "<i8"),
        ("size", "<i8"),
        ("offset", "<i8"),
        ("fd", "<i4"),
        ("reserved", "<u4"),
    ]
)

# enum ph_call_flags
COMPAT, FILE, NO_RETURN, NO_ARGS, CREATED = 1, 2, 4, 8, 16

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
    ]
)

# enum ph_event_type
FORK, EXEC, EXIT, OPENED = 1, 2, 3, 4

assert CALL.itemsize == 144 and EVENT.itemsize == 56

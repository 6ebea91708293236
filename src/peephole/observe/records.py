"""The layouts of a spill: core/include/peephole/abi_record.h, Python side."""

from __future__ import annotations

import numpy as np

RECORD_VERSION = 2

# struct ph_call, as it is spilled
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

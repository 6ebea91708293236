"""Who else watches this machine or this command: with a recorder attached, figures are those of the recorder, too."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

#: programs that trace others; a name as the kernel keeps it (15 characters)
TRACERS = ("strace", "ltrace", "perf", "bpftrace", "gdb", "peephole-record", "trace-cmd", "sysdig", "uftrace", "rr")
TRACEFS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
SYS_BPF = 321  # x86-64
BPF_PROG_GET_FD_BY_ID, BPF_PROG_GET_NEXT_ID, BPF_OBJ_GET_INFO_BY_FD = 13, 11, 15  # linux/bpf.h
#: program types that run at probes, tracepoints and samples (linux/bpf.h)
TRACING_TYPES = {
    2: "kprobe",
    5: "tracepoint",
    7: "perf event",
    17: "raw tracepoint",
    24: "raw tracepoint",
    26: "tracing",
}


def attached() -> list[str]:
    """Recorders that can be seen from here, in words; empty when none is seen, which proves nothing."""
    return [*_traced(), *_running(), *_trace_events(), *_bpf_programs()]


def _traced() -> list[str]:
    status = Path("/proc/self/status").read_text()
    tracer = int(next(line.split()[1] for line in status.splitlines() if line.startswith("TracerPid:")))
    return [f"{_name(tracer) or 'a debugger'} ({tracer}) traces peephole"] if tracer else []


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _running() -> list[str]:
    names = [(int(entry.name), _name(int(entry.name))) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [f"{name} ({pid}) is running" for pid, name in names if name in TRACERS]


def _trace_events() -> list[str]:
    found = []
    for folder in TRACEFS:
        try:
            tracer = (folder / "current_tracer").read_text().strip()
            events = (folder / "set_event").read_text().split()
        except OSError:
            continue
        if tracer != "nop":
            found.append(f"the kernel's tracer {tracer} is on")
        if events:
            found.append(f"{len(events)} kernel trace events are on ({events[0]} ...)")
        break
    return found


def _bpf_programs() -> list[str]:
    """BPF programs of tracing kinds that are loaded; only root can ask."""
    kinds: list[str] = []
    libc = ctypes.CDLL(None, use_errno=True)
    at = 0
    while True:
        ask = ctypes.create_string_buffer(struct.pack("<III", at, 0, 0), 128)
        if libc.syscall(SYS_BPF, BPF_PROG_GET_NEXT_ID, ask, 128) != 0:
            break
        at = struct.unpack_from("<I", ask, 4)[0]
        kind = _bpf_kind(libc, at)
        if kind in TRACING_TYPES:
            kinds.append(TRACING_TYPES[kind])
    if not kinds:
        return []
    return [f"{len(kinds)} BPF programs that trace are loaded ({', '.join(sorted(set(kinds)))})"]


def _bpf_kind(libc: ctypes.CDLL, program: int) -> int | None:
    ask = ctypes.create_string_buffer(struct.pack("<I", program), 128)
    fd = libc.syscall(SYS_BPF, BPF_PROG_GET_FD_BY_ID, ask, 128)
    if fd < 0:
        return None
    try:
        info = ctypes.create_string_buffer(256)
        ask = ctypes.create_string_buffer(struct.pack("<IIQ", fd, 256, ctypes.addressof(info)), 128)
        if libc.syscall(SYS_BPF, BPF_OBJ_GET_INFO_BY_FD, ask, 128) != 0:
            return None
        return int(struct.unpack_from("<I", info, 0)[0])
    finally:
        os.close(fd)

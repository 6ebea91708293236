"""The words that all stages share.

A capture is a folder:

    meta.json           who, where, what was lost (see `Meta`)
    calls.parquet       one row a system call, in exit order (see CALL_COLUMNS)
    processes.parquet   one row a process image: from fork or exec to exec or exit (see PROCESS_COLUMNS)
    gaps.parquet        one row a loss: which CPU, between which times, how many events are missing (see GAP_COLUMNS)

and, where there was something of the kind (see EXTRA_TABLES),

    operations.parquet  one row an io_uring operation (see OPERATION_COLUMNS)
    samples.parquet     one row a tick of the cpu-clock in an observed thread (see SAMPLE_COLUMNS)
    stacks.parquet      one row a frame of a sampled stack (see FRAME_COLUMNS)

docs/capture.md is the same for people, with what each version added.
Times are signed 64-bit nanoseconds of CLOCK_MONOTONIC; paths are bytes. Unknown is null, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CAPTURE_SCHEMA = "peephole/capture"
CAPTURE_VERSION = 2

#: name -> Arrow type (as pyarrow.type_for_alias spells it, or dictionary<string>)
CALL_COLUMNS: dict[str, str] = {
    "seq": "int64",  # position in the capture, by exit time
    "cpu": "int16",
    "pid": "int32",  # thread group
    "tid": "int32",
    "image": "int64",  # row key in processes.parquet: the process image that made the call
    "enter_ns": "int64",  # null when only the exit was seen
    "exit_ns": "int64",
    "nr": "int32",
    "name": "dictionary<string>",
    "a0": "int64",
    "a1": "int64",
    "a2": "int64",
    "a3": "int64",
    "a4": "int64",
    "a5": "int64",
    "ret": "int64",  # -errno on failure
    "ip": "int64",
    "ofd": "int64",  # id of the open file description that the call's descriptor (or its result) names
    "dev": "int64",  # identity of that file, when it is one
    "ino": "int64",
    "ftype": "int8",  # S_IFMT >> 12: 8 regular, 4 directory, 1 fifo, 12 socket, 2 character device, ...
    "size": "int64",  # size of that file at the call's end
    "offset": "int64",  # the description's position at the call's end
    "path": "binary",  # the call's first path argument, as passed
    "path2": "binary",  # the second one (rename, link, symlink)
    "compat": "bool",  # a 32-bit call: nr is of the other table
    "blocked_ns": "int64",  # asleep inside the call, and then waiting for a CPU; null when nobody looked
    "switches": "int32",  # how often it fell asleep; null when nobody looked
    "address": "binary",  # the socket address given or returned, in the words of observe/addresses.py
    "stack": "int64",  # key in stacks.parquet; null for the many calls whose stack was not sampled
}
PROCESS_COLUMNS: dict[str, str] = {
    "image": "int64",
    "pid": "int32",
    "ppid": "int32",
    "start_ns": "int64",
    "end_ns": "int64",  # null when it outlived the recording
    "exe": "binary",
    "argv": "list<binary>",
    "exit_code": "int32",  # wait status; null when unknown or replaced by exec
    "pid_ns": "int64",  # inode of the innermost pid namespace
    "ns_pid": "int32",  # the process's number in it
}
GAP_COLUMNS: dict[str, str] = {"cpu": "int16", "after_ns": "int64", "before_ns": "int64", "missing": "int64"}

OPERATION_COLUMNS: dict[str, str] = {
    "pid": "int32",
    "tid": "int32",
    "image": "int64",
    "submit_ns": "int64",  # null when only the completion was seen
    "complete_ns": "int64",  # null when it was never seen to complete
    "opcode": "int32",
    "name": "dictionary<string>",  # READ, WRITEV, ...
    "fd": "int32",
    "user_data": "int64",
    "ret": "int64",
}
SAMPLE_COLUMNS: dict[str, str] = {
    "ns": "int64",
    "cpu": "int16",
    "pid": "int32",
    "tid": "int32",
    "image": "int64",
    "in_kernel": "bool",
    "name": "dictionary<string>",  # the call it was in; null: in none
    "ip": "int64",
    "stack": "int64",  # key in stacks.parquet; null when it could not be read
}
FRAME_COLUMNS: dict[str, str] = {
    "stack": "int64",
    "depth": "int32",  # 0 is where the call was made, callers follow
    "ip": "int64",  # null in frames of Python's own
    "library": "binary",  # the file; null where no file is mapped
    "offset": "int64",  # in that file's address space
    "function": "string",
    "file": "string",  # source file and line, where debug information exists; of Python, where the function begins
    "line": "int32",
    "kind": "string",  # native | python
}
#: tables that a capture need not have
EXTRA_TABLES: dict[str, dict[str, str]] = {
    "operations.parquet": OPERATION_COLUMNS,
    "samples.parquet": SAMPLE_COLUMNS,
    "stacks.parquet": FRAME_COLUMNS,
}
#: what version 2 added: version 1 lacks them
ADDED_COLUMNS = {2: ("blocked_ns", "switches", "address", "stack", "pid_ns", "ns_pid")}

#: kinds of waste (the paper's section 1)
KINDS = ("dead", "redundant", "guarantee", "copy", "crossing")


@dataclass(frozen=True)
class Meta:
    """What is known of a capture beside its rows; `meta.json`."""

    command: list[str]
    engine: str  # ebpf | ebpf-full | inprocess | ptrace | import
    started_ns: int
    ended_ns: int
    events: int
    lost: int
    machine: dict[str, Any] = field(default_factory=dict)  # kernel, cpus, hostname, page size
    mounts: list[dict[str, Any]] = field(default_factory=list)  # dev (int), point, fstype, options
    environment: list[str] = field(default_factory=list)  # names only
    exit_status: int | None = None
    why_not_better: str | None = None  # why a better engine was not used
    incomplete: str | None = None  # why the capture ends before its time: the recorder was killed
    left: int = 0  # observed processes that went on when the recording ended
    joined: str | None = None  # what was joined while it ran: `pid N` or `cgroup PATH`; null for a command
    tick_ns: int | None = None  # of CPU time between two samples
    cpu_ns: int | None = None  # CPU time of the command and of all that it waited for, being recorded included
    schema: str = CAPTURE_SCHEMA
    version: int = CAPTURE_VERSION


@dataclass(frozen=True)
class Capture:
    """A capture on disk. Open it with `peephole.observe.capture.open_capture`."""

    folder: Path
    meta: Meta

    @property
    def calls(self) -> Path:
        return self.folder / "calls.parquet"

    @property
    def processes(self) -> Path:
        return self.folder / "processes.parquet"

    def extra(self, name: str) -> Path | None:
        """The table `name` of EXTRA_TABLES, or None when this capture has none."""
        path = self.folder / name
        return path if path.exists() else None

    @property
    def gaps(self) -> Path:
        return self.folder / "gaps.parquet"


@dataclass(frozen=True)
class Saving:
    """What removing a waste would save: CPU nanoseconds on the machine that `peephole calibrate` measured."""

    ns: int
    low: int
    high: int


@dataclass(frozen=True)
class Finding:
    """One waste: which calls of which program on which object, what it costs, and what would remove it."""

    slug: str
    kind: str  # one of KINDS
    program: str
    pids: list[int]
    object: str  # the file, socket or path pattern, for people
    layer: list[str]
    calls: int
    bytes: int
    kernel_ns: int
    kernel_ns_estimated: bool
    blocked_ns: int
    saving: Saving | None
    rule: str | None  # the rule that removes it, or None where only advice is left
    gives_up: list[str]
    advice: str
    #: other detectors that name some of the same calls -> how many; each of these calls is counted in one finding only
    overlaps: dict[str, int] = field(default_factory=dict)
    needs: list[str] = field(default_factory=list)  # other rules without which `rule` would gain little here

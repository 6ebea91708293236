"""The words that all stages share.

A capture is a folder:

    meta.json           who, where, what was lost (see `Meta`)
    calls.parquet       one row a system call, in exit order (see CALL_COLUMNS)
    processes.parquet   one row a process image: from fork or exec to exec or exit (see PROCESS_COLUMNS)
    gaps.parquet        one row a loss: which CPU, between which times, how many events are missing (see GAP_COLUMNS)

Times are signed 64-bit nanoseconds of CLOCK_MONOTONIC; paths are bytes. Unknown is null, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CAPTURE_SCHEMA = "peephole/capture"
CAPTURE_VERSION = 1

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
}
GAP_COLUMNS: dict[str, str] = {"cpu": "int16", "after_ns": "int64", "before_ns": "int64", "missing": "int64"}

#: kinds of waste (the paper's section 1)
KINDS = ("dead", "redundant", "guarantee", "copy", "crossing")


@dataclass(frozen=True)
class Meta:
    """What is known of a capture beside its rows; `meta.json`."""

    command: list[str]
    engine: str  # ebpf | ebpf-full | ptrace | import
    started_ns: int
    ended_ns: int
    events: int
    lost: int
    machine: dict[str, Any] = field(default_factory=dict)  # kernel, cpus, hostname, page size
    mounts: list[dict[str, Any]] = field(default_factory=list)  # dev (int), point, fstype, options
    environment: list[str] = field(default_factory=list)  # names only
    exit_status: int | None = None
    why_not_better: str | None = None  # why a better engine was not used
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

"""`prefetch_cold`: a process beside the program reads what the program is going to read, while that is cold.

The page is `rules/prefetch_cold/beside.py`; the process is core/ahead. A list of what a run read, in its order, is made
from its capture and lies beside the plan. Each record is `KIND BYTES PATH` and a zero byte: `d` a directory that was
listed, `f` anything else; BYTES is how far it was read, 0 where it was only examined.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from peephole import native
from peephole.errors import PlanError
from peephole.improve.private import check_private
from peephole.trace import Capture

NAME = "prefetch_cold"
GIVES_UP = ("resources", "timing")
#: of a file that was mapped, as much is asked for: programs and libraries are read by page faults, which no call shows
MAPPED_BYTES = 8 << 20
#: more is no list of ours
LIST_BYTES_MOST = 256 << 20
FINISH_S = 1.0
AT_FDCWD = -100
_WRITING = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
_NOT_FILES = (b"/dev/", b"/proc/", b"/sys/")

#: name -> which argument holds the descriptor that the path starts from (None: the working folder)
_OPENS = {"open": None, "openat": "a0", "openat2": "a0"}
_LOOKS = {
    "stat": None, "lstat": None, "access": None, "readlink": None, "newfstatat": "a0", "statx": "a0",
    "faccessat": "a0", "faccessat2": "a0", "readlinkat": "a0", "execve": None, "chdir": None,
}  # fmt: skip
_PATHS = {**_OPENS, **_LOOKS}
_READS = (
    "read", "readv", "pread64", "preadv", "preadv2", "mmap", "sendfile", "copy_file_range", "getdents64", "getdents",
)  # fmt: skip
_NUMBERS = ("dup", "dup2", "dup3", "fcntl", "close", "fchdir")


@dataclass
class Wanted:
    """What a run wanted of one path."""

    size: int = 0
    listed: bool = False

    def record(self, path: bytes) -> bytes:
        """Its line of the list."""
        return b"%c %d %b\0" % (b"d" if self.listed else b"f", self.size, path)


@dataclass
class _Process:
    """Where a process's relative paths start: its working folder, and the paths behind its descriptors."""

    cwd: bytes = b""
    names: dict[int, bytes] = field(default_factory=dict)

    def path(self, at: int | None, path: bytes) -> bytes | None:
        """An absolute path, or one below the run's own working folder; None where it is not known."""
        if path.startswith(b"/"):
            return path
        base = self.cwd if at is None or at == AT_FDCWD else self.names.get(at)
        if base is None:
            return None
        return base.rstrip(b"/") + b"/" + path if base else path


def wanted_by(capture: Capture) -> dict[bytes, Wanted]:
    """What the programs of a capture read, by path, in the order of their first look at it."""
    found: dict[bytes, Wanted] = {}
    processes: dict[int, _Process] = {}
    parents = _parents(capture)
    for call in _calls(capture):
        process = processes.get(call["pid"])
        if process is None:
            above = processes.get(parents.get(call["pid"], -1), _Process())
            process = processes[call["pid"]] = _Process(above.cwd, dict(above.names))
        _follow(process, call, found)
    return found


def _parents(capture: Capture) -> dict[int, int]:
    import pyarrow.parquet as pq

    table = pq.read_table(capture.processes, columns=["pid", "ppid"])
    return dict(zip(table.column("pid").to_pylist(), table.column("ppid").to_pylist(), strict=True))


def _calls(capture: Capture) -> Iterable[dict[str, Any]]:
    """The calls that succeeded and that say something of files, in order."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    columns = ["pid", "name", "a0", "a1", "a2", "a3", "a4", "ret", "ftype", "size", "offset", "path", "seq"]
    names = pa.array([*_PATHS, *_READS, *_NUMBERS])
    table = pq.read_table(capture.calls, columns=columns)
    known = pc.is_in(table.column("name").cast(pa.string()), names)
    table = table.filter(pc.and_(known, pc.greater_equal(table.column("ret"), 0))).sort_by("seq")
    for batch in table.to_batches(max_chunksize=1 << 16):
        yield from batch.to_pylist()


def _follow(process: _Process, call: dict[str, Any], found: dict[bytes, Wanted]) -> None:
    name, ret = call["name"], call["ret"]
    if name in _PATHS:
        at = _PATHS[name]
        path = process.path(_fd(call[at]) if at else None, call["path"]) if call["path"] else None
        if name in _OPENS:
            process.names.pop(ret, None)
        if path is None or path.startswith(_NOT_FILES):
            return
        if name in _OPENS:
            process.names[ret] = path
            flags = call["a1"] if name == "open" else call["a2"] if name == "openat" else 0
            if (flags or 0) & _WRITING or call["ftype"] not in (None, 4, 8):
                return
        elif name == "chdir":
            process.cwd = path
        entry = found.setdefault(path, Wanted())
        if name == "execve":
            entry.size = MAPPED_BYTES
    elif name in _NUMBERS:
        _renumber(process, call)
    else:
        fd = {"mmap": "a4", "sendfile": "a1"}.get(name, "a0")
        read = found.get(process.names.get(_fd(call[fd]), b""))
        if read is not None:
            _read(read, call)


def _fd(word: int) -> int:
    """A descriptor from a register, of which the kernel looks at 32 bits."""
    return ((word + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def _renumber(process: _Process, call: dict[str, Any]) -> None:
    name, old = call["name"], call["a0"]
    if name == "close":
        process.names.pop(old, None)
    elif name == "fchdir":
        process.cwd = process.names.get(old, process.cwd)
    elif old in process.names and (name != "fcntl" or call["a1"] in (0, 1030)):  # F_DUPFD, F_DUPFD_CLOEXEC
        process.names[call["ret"]] = process.names[old]


def _read(entry: Wanted, call: dict[str, Any]) -> None:
    name, ret = call["name"], call["ret"]
    if name.startswith("getdents"):
        entry.listed = True
    elif name in ("mmap", "sendfile", "copy_file_range"):
        entry.size = max(entry.size, min(call["size"] or MAPPED_BYTES, MAPPED_BYTES))
    elif name.startswith("pread"):
        entry.size = max(entry.size, (call["a3"] or 0) + ret)
    elif call["offset"] is not None:
        entry.size = max(entry.size, call["offset"])
    else:
        entry.size += ret


def _real(path: bytes, folders: dict[bytes, bytes]) -> bytes:
    """A path without symbolic links above its last part: following one could change its access time."""
    if not path.startswith(b"/"):
        return path
    folder, _, name = path.rpartition(b"/")
    if folder not in folders:
        folders[folder] = os.path.realpath(folder or b"/")
    return folders[folder].rstrip(b"/") + b"/" + name


# -- the list beside a plan -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ahead:
    """A list on disk: where, the SHA-256 of its bytes, how many files, which findings it is for."""

    path: Path
    digest: str
    files: int
    findings: tuple[str, ...] = ()

    def helper(self) -> tuple[str, ...]:
        """The words that start the process, but for the program's pid. Raises MissingToolError when it is not built."""
        return (str(native.path("peephole-ahead")), str(self.path))

    def check(self) -> None:
        """Raises PlanError unless the list is the caller's own and as it was when the plan was made."""
        check_private(self.path, "the list")
        try:
            text = self.path.read_bytes() if self.path.stat().st_size <= LIST_BYTES_MOST else b""
        except OSError as e:
            raise PlanError(f"{self.path}: {e.strerror}; make the plan again") from e
        if hashlib.sha256(text).hexdigest() != self.digest:
            raise PlanError(f"{self.path}: is not the list that the plan was made with; make the plan again")


def write_list(capture: Capture, path: Path, findings: Iterable[str]) -> Ahead:
    """Write what a capture's programs read to `path`, for its owner only. Raises PlanError when that can't be."""
    wanted = wanted_by(capture)
    folders: dict[bytes, bytes] = {}
    text = b"".join(one.record(_real(name, folders)) for name, one in wanted.items())
    try:
        path.unlink(missing_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(text)
    except OSError as e:
        raise PlanError(f"{path}: {e.strerror}; choose another place for the plan") from e
    return Ahead(path, hashlib.sha256(text).hexdigest(), len(wanted), tuple(findings))


# -- the process beside a program -------------------------------------------------------------------------------------


class Beside:
    """Reads ahead of whatever this process starts, from enter to exit."""

    def __init__(self, ahead: Ahead) -> None:
        self._words = (*ahead.helper(), str(os.getpid()))
        self._said: dict[str, Any] = {"ended": "killed"}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        # No helper is no trouble of the program's.
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                self._words, env={}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()  # which tells it
        line = b""
        if select.select([self._process.stdout], [], [], FINISH_S)[0]:
            line = self._process.stdout.readline()
        self._process.kill()
        self._process.wait()
        self._said = said(line)

    def report(self) -> Mapping[str, Any]:
        """What it did, for --stats: files, of them cold, warm and gone; bytes asked for; why it ended."""
        return {"rule": NAME, **self._said}


def said(line: bytes) -> dict[str, Any]:
    """What the helper printed at its end; without, it was killed."""
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"ended": "killed"}

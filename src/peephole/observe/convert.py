"""A recorder's spill as a capture's tables, a batch of calls at a time and no Python per row."""

from __future__ import annotations

import errno
import json
import mmap
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from peephole import native
from peephole.errors import CaptureError
from peephole.observe import events
from peephole.observe.addresses import spell
from peephole.observe.capture import schema
from peephole.observe.lineage import Lineage, lineage, sightings
from peephole.observe.records import CALL, COMPAT, FILE, NO_ARGS, NO_RETURN, RECORD_VERSION, SAMPLE, apart
from peephole.observe.stacks import frames_table
from peephole.observe.syscalls import NAMES, NAMES_I386, NUMBERS
from peephole.observe.uring import operations
from peephole.trace import CALL_COLUMNS, GAP_COLUMNS, OPERATION_COLUMNS, PROCESS_COLUMNS, SAMPLE_COLUMNS

BATCH_ROWS = 1 << 18
_EXECVE, _RT_SIGRETURN, _TABLE_SIZE = 59, 15, 512
#: the fields of a record that become columns by themselves
_IN_CALLS: tuple[str, ...] = ("exit_ns", "nr", "tid", "image", "pid", "cpu", "flags", "ftype", "ret", "ip", "args")
_IN_CALLS += ("ino", "size", "offset", "dev", "enter_ns", "blocked_ns", "switches", "stack")
_FIFO, _SOCKET, _DIRECTORY, _REGULAR, _BLOCK = 1, 12, 4, 8, 6


@dataclass(frozen=True)
class Converted:
    """The tables of one spill; `calls` yields record batches in the order of exit."""

    calls: Iterator[Any]
    processes: Any
    gaps: Any
    extra: dict[str, Any]
    events: int
    lost: int
    end: dict[str, Any]
    last_ns: int


def convert(folder: Path, command_lines: Mapping[int, list[bytes]] | None = None) -> Converted:
    """Read the spill in `folder` (see abi_record.h); one whose recorder was killed gives what it had until then.

    `command_lines` are those of processes that ran before the recorder, by their number. Raises CaptureError when
    there is nothing in it.
    """
    begin, end = _begin_and_end(folder)
    _unpack(folder)
    calls = _map(folder / "calls.raw", CALL)
    tree = events.tree(events.read((folder / "events.raw").read_bytes()))
    for row in tree.processes:
        if row["image"] in tree.joined:
            row["argv"] = (command_lines or {}).get(tree.joined[row["image"]])
    order = np.argsort(calls["exit_ns"], kind="stable")
    gaps = _gaps(calls, end)
    ends = np.array([g for g in gaps["before_ns"] if g is not None], dtype=np.int64)
    known = lineage(sightings(calls, order, tree), tree, ends)
    places = _places(folder / "paths.raw", calls)
    batches = _Batches(calls, order, known, tree, places, begin)
    samples = _map(folder / "samples.raw", SAMPLE)
    return Converted(
        batches.all(),
        pa.Table.from_pylist(tree.processes, schema=schema(PROCESS_COLUMNS)),
        pa.table(gaps, schema=schema(GAP_COLUMNS)),
        {
            "operations.parquet": pa.Table.from_pylist(operations(tree.operations), schema=schema(OPERATION_COLUMNS)),
            "samples.parquet": _samples(samples),
            "stacks.parquet": frames_table(folder),
        },
        len(calls),
        sum(gaps["missing"]),
        end,
        int(calls["exit_ns"].max(initial=0)),
    )


def _unpack(folder: Path) -> None:
    if (folder / "calls.raw").exists():
        return  # engine inprocess makes rows itself
    done = subprocess.run([native.path("peephole-record"), "--unpack", folder], capture_output=True, text=True)
    if done.returncode:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _begin_and_end(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        begin = json.loads((folder / "begin.json").read_text())
    except (FileNotFoundError, ValueError):
        raise CaptureError(f"{folder}: the recorder did not begin") from None
    if begin["version"] != RECORD_VERSION:
        raise CaptureError(f"{folder}: spilled by another version of the recorder; run `make build`")
    try:
        return begin, json.loads((folder / "end.json").read_text())
    except (FileNotFoundError, ValueError):
        return begin, {**begin, "cpus": [], "missed": 0}


def _samples(samples: Any) -> Any:
    nr, compat = samples["nr"], samples["compat"] != 0
    columns = {
        "ns": pa.array(samples["ns"].copy()),
        "cpu": pa.array(samples["cpu"].astype(np.int16)),
        "pid": pa.array(samples["pid"].copy()),
        "tid": pa.array(samples["tid"].copy()),
        "image": pa.array(samples["image"].astype(np.int64)),
        "in_kernel": pa.array(samples["in_kernel"] != 0),
        "name": pa.DictionaryArray.from_arrays(_codes(nr, compat, nr < 0), pa.array(_names(), pa.string())),
        "ip": pa.array(samples["ip"].copy()),
        "stack": pa.array(samples["stack"].astype(np.int64), mask=samples["stack"] == 0),
    }
    return pa.table(columns, schema=schema(SAMPLE_COLUMNS)).sort_by("ns")


def _codes(nr: Any, compat: Any, none: Any = None) -> Any:
    """Places in _names(). A number that no table has is named by its number; there are too few of them to matter."""
    codes = np.where((nr >= 0) & (nr < _TABLE_SIZE), nr + _TABLE_SIZE * compat, 2 * _TABLE_SIZE)
    return pa.array(codes.astype(np.int32), mask=none)


def _arity(digits: str) -> Any:
    """How many arguments each call takes, by number; 32-bit calls and unknown ones are the last: six."""
    return np.array([*map(int, digits), 6], dtype=np.int8)


def _map(path: Path, dtype: np.dtype[Any]) -> Any:
    """The file's whole records, mapped; asked for at once, since a fault for every page costs a third of the time."""
    rows = path.stat().st_size // dtype.itemsize
    if not rows:
        return np.zeros(0, dtype=dtype)
    with path.open("rb") as file:
        view = mmap.mmap(file.fileno(), rows * dtype.itemsize, mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ)
    return np.frombuffer(view, dtype=dtype)


def _gaps(calls: Any, end: dict[str, Any]) -> dict[str, list[Any]]:
    """One row for each jump in a CPU's numbers, and what the recorder lost besides."""
    gaps: dict[str, list[Any]] = {name: [] for name in GAP_COLUMNS}

    def add(cpu: int | None, after: int | None, before: int | None, missing: int) -> None:
        if missing:
            for name, value in zip(GAP_COLUMNS, (cpu, after, before, missing), strict=True):
                gaps[name].append(value)

    raw = apart(calls, ("cpu", "seq", "exit_ns"))
    cpus = raw["cpu"]
    # Of a recorder that was killed, the last numbers are not known, and so not what was lost after the last record.
    counters = end["cpus"] or [[None, 0, 0, 0, 0]] * (int(cpus.max(initial=0)) + 1)
    for cpu, (last_seq, _lost, events_lost, _unread, _samples_lost) in enumerate(counters):
        rows = np.flatnonzero(cpus == cpu)
        seq, ns = raw["seq"][rows], raw["exit_ns"][rows]
        steps = np.diff(seq)  # modulo 2^32, as the counter is
        if len(seq):
            add(cpu, None, int(ns[0]), int(seq[0]) - 1)
        for at in np.flatnonzero(steps != 1).tolist():
            add(cpu, int(ns[at]), int(ns[at + 1]), int(steps[at]) - 1)
        if last_seq is None:
            continue
        tail = (last_seq - int(seq[-1]) if len(seq) else last_seq) & 0xFFFFFFFF
        add(cpu, int(ns[-1]) if len(seq) else None, None, tail)
        add(cpu, None, None, events_lost)
    add(None, None, None, end["missed"])
    return gaps


def _places(path: Path, calls: Any) -> tuple[Any, Any]:
    """Every path and address of the spill as one Arrow array over the mapped file, and each call's place in it."""
    lens = np.stack([*apart(calls, ("path_len", "path2_len", "address_len")).values()], axis=1).astype(np.int64)
    have = lens > 0
    lens[:, :2] -= have[:, :2]  # a path's length counts its NUL
    flat = lens[have]
    offsets = np.zeros(len(flat) + 1, dtype=np.int64)
    np.cumsum(flat, out=offsets[1:])
    blob = pa.py_buffer(np.memmap(path, mode="r", dtype=np.uint8)) if path.stat().st_size else pa.py_buffer(b"")
    if offsets[-1] > blob.size:  # killed between the two files: what is not there is not known
        offsets = np.minimum(offsets, blob.size)
    strings = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(flat), [None, pa.py_buffer(offsets), blob])
    place = np.full(lens.shape, -1, dtype=np.int64)
    place[have] = np.arange(len(flat))
    return strings, place


class _Batches:
    """Cuts the spill into record batches."""

    def __init__(
        self,
        calls: Any,
        order: Any,
        known: Lineage,
        tree: events.Tree,
        places: tuple[Any, Any],
        begin: dict[str, Any],
    ) -> None:
        self.calls, self.order, self.known = calls, order, known
        self.arity = _arity(begin["arity"])
        self.sleep_seen = begin["hook"] != "inprocess"
        self.strings, self.place = places
        self.names = pa.array(_names(), pa.string())
        highest = max([*tree.replaced, *tree.exec_names, 0]) + 1
        self.replaced = np.arange(highest, dtype=np.int64)
        for image, old in tree.replaced.items():
            self.replaced[image] = old
        self.exec_names = tree.exec_names

    def all(self) -> Iterator[Any]:
        for start in range(0, len(self.order), BATCH_ROWS):
            yield self._batch(start, self.order[start : start + BATCH_ROWS])

    def _batch(self, start: int, rows: Any) -> Any:
        raw = apart(self.calls, _IN_CALLS, rows)
        n = len(rows)
        flags = raw["flags"]
        compat = (flags & COMPAT) != 0
        nr = np.where(raw["nr"] == -1, _RT_SIGRETURN, raw["nr"]).astype(np.int32)
        no_args = (flags & NO_ARGS) != 0
        executed = no_args & (raw["nr"] != -1)
        unseen = np.full(n, not self.sleep_seen)
        columns: dict[str, Any] = {
            "seq": np.arange(start, start + n, dtype=np.int64),
            "cpu": raw["cpu"].astype(np.int16),
            "pid": raw["pid"],
            "tid": raw["tid"],
            "image": self._images(raw["image"].astype(np.int64), executed),
            "enter_ns": pa.array(raw["enter_ns"], mask=raw["enter_ns"] == 0),
            "exit_ns": raw["exit_ns"],
            "nr": nr,
            "name": pa.DictionaryArray.from_arrays(_codes(nr, compat), self.names),
            "ret": pa.array(raw["ret"], mask=(flags & NO_RETURN) != 0),
            "ip": raw["ip"],
            "compat": compat,
            "blocked_ns": pa.array(raw["blocked_ns"].copy(), mask=unseen),
            "switches": pa.array(raw["switches"].astype(np.int32), mask=unseen),
            "stack": pa.array(raw["stack"].astype(np.int64), mask=raw["stack"] == 0),
        }
        arity = self.arity[np.where(compat | (nr < 0) | (nr >= _TABLE_SIZE), _TABLE_SIZE, nr)]
        no_return = (flags & NO_RETURN) != 0
        for at in range(6):
            # a 32-bit exit's only argument is the status, too
            missing = no_args | (arity <= at)
            if at:
                missing |= no_return
            columns[f"a{at}"] = pa.array(_signed(raw["args"][at], at, nr, compat), mask=missing)
        columns.update(self._identity(start, raw))
        columns["path"], columns["path2"], columns["address"] = self._path(rows, raw, executed)
        kinds = schema(CALL_COLUMNS)
        arrays = [columns[f.name] for f in kinds]
        arrays = [
            a if isinstance(a, pa.Array) else pa.array(np.ascontiguousarray(a), f.type)
            for a, f in zip(arrays, kinds, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=kinds)

    def _images(self, image: Any, executed: Any) -> Any:
        """exec returns in the new image, but the old one called it."""
        known = executed & (image < len(self.replaced))
        image[known] = self.replaced[image[known]]
        return image

    def _identity(self, start: int, raw: Any) -> dict[str, Any]:
        own = (raw["flags"] & FILE) != 0
        n = len(own)
        ofd = self.known.ofd[start : start + n]
        source = self.known.identity[start : start + n]
        dev, ino, ftype = raw["dev"].astype(np.int64), raw["ino"], raw["ftype"].astype(np.int8)
        elsewhere = np.flatnonzero((source >= 0) & ~own)
        if len(elsewhere):  # closes: the identity is in an earlier record
            other = self.calls[self.order[source[elsewhere]]]
            dev[elsewhere], ino[elsewhere], ftype[elsewhere] = other["dev"], other["ino"], other["ftype"]
        nameless = ~own
        nameless[elsewhere] = False
        # Pipes and sockets have neither a size nor a position; only these have both.
        sized = own & np.isin(ftype, (_REGULAR, _DIRECTORY, _BLOCK))
        return {
            "ofd": pa.array(ofd, mask=ofd == 0),
            "dev": pa.array(dev, mask=nameless),
            "ino": pa.array(ino, mask=nameless),
            "ftype": pa.array(ftype, mask=nameless),
            "size": pa.array(raw["size"], mask=~sized),
            "offset": pa.array(raw["offset"], mask=~sized),
        }

    def _path(self, rows: Any, raw: Any, executed: Any) -> tuple[Any, Any, Any]:
        place = self.place[rows]
        first, second, address = (
            self.strings.take(pa.array(place[:, i], mask=place[:, i] < 0)).cast(pa.binary()) for i in range(3)
        )
        raws = address.dictionary_encode()
        spelled = pa.array([spell(raw) for raw in raws.dictionary.to_pylist()], pa.binary())
        address = spelled.take(raws.indices)
        if executed.any():  # what exec was given was read before it replaced its own memory
            images = raw["image"][executed].tolist()
            names = pa.array([self.exec_names.get(image) for image in images], pa.binary())
            first = pc.replace_with_mask(first, pa.array(executed), names)
        return first, second, address


#: arguments that are a C int and can be negative (AT_FDCWD, any child): registers hold only their low half
_INTS = {
    0: "close fstat lseek read write pread64 pwrite64 fcntl ioctl wait4 kill tgkill openat openat2 mkdirat mknodat "
    "fchownat futimesat newfstatat unlinkat renameat renameat2 linkat readlinkat fchmodat fchmodat2 faccessat "
    "faccessat2 utimensat statx execveat name_to_handle_at open_tree move_mount fspick getdents64 fsync fdatasync "
    "dup dup2 dup3 ftruncate fallocate epoll_ctl epoll_wait setxattrat getxattrat listxattrat removexattrat",
    1: "symlinkat kill tgkill dup2 dup3",
    2: "renameat renameat2 linkat poll",
    3: "epoll_wait epoll_pwait",
    4: "mmap",
}


def _int_table() -> Any:
    table = np.zeros((_TABLE_SIZE, 6), dtype=bool)
    for at, names in _INTS.items():
        table[[NUMBERS[name] for name in names.split()], at] = True
    return table


_IS_INT = _int_table()
_NO_CALL = _TABLE_SIZE - 1  # a number that no call has


def _signed(column: Any, at: int, nr: Any, compat: Any) -> Any:
    """`column`, argument `at` of each call, with C ints sign-extended."""
    if not _IS_INT[:, at].any():
        return column
    known = np.where((nr >= 0) & (nr < _TABLE_SIZE) & ~compat, nr, _NO_CALL)
    is_int = _IS_INT[known, at]
    return np.where(is_int, column.astype(np.int32), column) if is_int.any() else column


def _names() -> list[str]:
    """x86-64's names by number, then the i386 table's, then the word for anything else."""
    native = [NAMES.get(nr, f"syscall_{nr:#x}") for nr in range(_TABLE_SIZE)]
    compat = [NAMES_I386.get(nr, f"syscall_{nr:#x}") for nr in range(_TABLE_SIZE)]
    return [*native, *compat, "unknown"]

"""Captures on disk: opened with clear errors, written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from peephole.errors import CaptureError
from peephole.files import read_plain
from peephole.observe.redact import Redactor
from peephole.trace import (
    ADDED_COLUMNS,
    CALL_COLUMNS,
    CAPTURE_SCHEMA,
    CAPTURE_VERSION,
    EXTRA_TABLES,
    GAP_COLUMNS,
    PROCESS_COLUMNS,
    Capture,
    Meta,
)

_TABLES = {"calls.parquet": CALL_COLUMNS, "processes.parquet": PROCESS_COLUMNS, "gaps.parquet": GAP_COLUMNS}
_META = "meta.json"
#: of a column that has more different values, plain ones are smaller and sooner written
_DICTIONARY_BYTES = 1 << 16


def schema(columns: dict[str, str]) -> Any:
    """The Arrow schema of a table whose columns are described as in `peephole.trace`."""
    import pyarrow as pa

    words = {
        "dictionary<string>": pa.dictionary(pa.int32(), pa.string()),
        "list<binary>": pa.list_(pa.binary()),
        "bool": pa.bool_(),
    }
    return pa.schema([(name, words.get(kind) or pa.type_for_alias(kind)) for name, kind in columns.items()])


# -- reading ----------------------------------------------------------------------------------------------------------


def open_capture(folder: Path | str) -> Capture:
    """The capture in `folder`, checked: its own kind, a version that is known, whole, and nobody else's.

    Raises CaptureError, which says which of these it is not.
    """
    folder = Path(folder)
    _check_name(folder)
    meta = _read_meta(folder)
    _check_owner(folder)
    import pyarrow as pa
    import pyarrow.parquet as pq

    extras = {name: columns for name, columns in EXTRA_TABLES.items() if (folder / name).exists()}
    for name, columns in {**_TABLES, **extras}.items():
        path = folder / name
        _check_owner(path)
        try:
            with pq.ParquetFile(path) as file:
                have, rows = file.schema_arrow, file.metadata.num_rows
        except FileNotFoundError:
            raise CaptureError(f"{folder}: not a whole capture, {name} is missing; record it again") from None
        except (pa.ArrowException, OSError) as e:
            raise CaptureError(f"{path}: cut off or corrupt; record it again") from e
        newer = {column for version, added in ADDED_COLUMNS.items() if version > meta.version for column in added}
        missing = [column for column in columns if column not in have.names and column not in newer]
        if missing:
            raise CaptureError(f"{path}: the column {missing[0]} is missing; record it again")
        kinds = schema(columns)
        odd = [column for column in columns if column in have.names and not _alike(have, kinds, column)]
        if odd:
            raise CaptureError(f"{path}: the column {odd[0]} is of another type than a capture's; record it again")
        if name == "calls.parquet" and rows != meta.events:
            raise CaptureError(f"{path}: {rows} calls where {_META} says {meta.events}; record it again")
    return Capture(folder, meta)


def _alike(have: Any, wanted: Any, column: str) -> bool:
    """Whether both hold the same kind of thing; its width and encoding are the writer's affair."""
    import pyarrow as pa

    def kind(of: Any) -> str:
        of = of.value_type if pa.types.is_dictionary(of) else of
        if pa.types.is_integer(of):
            return "integer"
        texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
        return "text" if any(test(of) for test in texts) else "list" if pa.types.is_list(of) else str(of)

    return kind(have.field(column).type) == kind(wanted.field(column).type)


def _read_meta(folder: Path) -> Meta:
    path = folder / _META
    try:
        text = read_plain(path)
    except FileNotFoundError:
        if not folder.exists():
            raise CaptureError(f"{folder}: no such capture") from None
        raise CaptureError(f"{folder}: not a capture (no {_META} in it)") from None
    except NotADirectoryError:
        raise CaptureError(f"{folder}: not a capture, which is a folder; strace text goes through import") from None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise CaptureError(f"{path}: cut off or corrupt; record it again") from None
    if not isinstance(data, dict) or data.get("schema") != CAPTURE_SCHEMA:
        raise CaptureError(f"{folder}: not a capture ({_META} is of another program)")
    version = data.get("version")
    if not isinstance(version, int) or version > CAPTURE_VERSION:
        raise CaptureError(
            f"{folder}: a capture of version {version}; this Peephole reads up to {CAPTURE_VERSION}, use a newer one"
        )
    known = {f.name for f in fields(Meta)}
    try:
        meta = Meta(**{name: value for name, value in data.items() if name in known})
        whole = isinstance(meta.events, int) and isinstance(meta.lost, int) and isinstance(meta.command, list)
    except TypeError:
        whole = False
    if not whole:
        raise CaptureError(f"{path}: cut off or corrupt; record it again")
    return meta


def _check_name(folder: Path) -> None:
    """What reads Parquet takes names in UTF-8 only."""
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise CaptureError(f"{folder}: the name is not UTF-8; choose another, or rename it") from None


def _check_owner(path: Path) -> None:
    """Captures of others, or that others can change, are not ours to trust."""
    with suppress(FileNotFoundError):
        info = path.stat()
        if info.st_uid not in (0, os.geteuid()):
            raise CaptureError(f"{path}: belongs to user {info.st_uid}; copy it to a folder of your own")
        if stat.S_IMODE(info.st_mode) & stat.S_IWOTH:
            raise CaptureError(f"{path}: everybody may write to it; take that right away (chmod o-w)")


# -- writing ----------------------------------------------------------------------------------------------------------


def check_target(folder: Path) -> None:
    """Raise CaptureError unless a capture may be put at `folder`: nothing, an empty folder, or an older capture."""
    _check_name(folder)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise CaptureError(f"{folder}: is in the way and not a capture; choose another place")
    if folder.is_dir() and any(folder.iterdir()):
        try:
            _read_meta(folder)
        except CaptureError:
            raise CaptureError(f"{folder}: holds other things than a capture; choose another place") from None
    if not folder.parent.is_dir():
        raise CaptureError(f"{folder.parent}: no such folder; make it first")


@contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """A private folder beside `folder` to make a capture in; gone at the end, unless it was published."""
    check_target(folder)
    try:
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    except OSError as e:
        raise CaptureError(f"{folder}: a capture can't be written here: {e.strerror}; choose another place") from e
    try:
        yield made
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CaptureError(full_disk(folder)) from e
        raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def full_disk(folder: Path) -> str:
    return f"{folder}: the disk is full; nothing was kept, make room or choose another place"


def write_capture(
    folder: Path | str,
    calls: Any,
    processes: Any,
    gaps: Any,
    meta: Meta,
    into: Path | None = None,
    extra: Mapping[str, Any] | None = None,
    hide: Redactor | None = None,
) -> Capture:
    """Write a capture; it appears under its name only when it is whole.

    `calls` is an Arrow table or an iterable of record batches with the columns of `peephole.trace`, in the order of
    `seq`; `processes` and `gaps` are tables. An older capture of that name is replaced, anything else refused
    (CaptureError). `into` is a workplace() that already exists. `extra` are tables of EXTRA_TABLES; empty ones are
    left out. `hide` replaces names by hashes before anything is written.
    """
    folder = Path(folder)
    if into is None:
        with workplace(folder) as made:
            return write_capture(folder, calls, processes, gaps, meta, made, extra, hide)
    whole = into / "capture"
    whole.mkdir(mode=0o700)
    if hide is not None:
        meta, processes = hide.meta(meta), hide.table(processes)
    rows = _write_calls(whole / "calls.parquet", calls, hide)
    _write_table(whole / "processes.parquet", processes)
    _write_table(whole / "gaps.parquet", gaps)
    for name, table in (extra or {}).items():
        if table.num_rows:
            table = table.cast(schema(EXTRA_TABLES[name]))
            _write_table(whole / name, table if hide is None else hide.table(table))
    if rows != meta.events:
        raise CaptureError(f"{folder}: {rows} calls came where {meta.events} were announced")
    with _private(whole / _META) as file:
        file.write(json.dumps(asdict(meta), indent=1, ensure_ascii=True).encode() + b"\n")
    _publish(whole, folder)
    return Capture(folder, meta)


@contextmanager
def _private(path: Path) -> Iterator[Any]:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        yield file


def _write_table(path: Path, table: Any) -> None:
    import pyarrow.parquet as pq

    with _private(path) as file:
        pq.write_table(table, file, compression="zstd")


def _write_calls(path: Path, calls: Any, hide: Redactor | None) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    batches: Iterable[Any] = calls.to_batches() if isinstance(calls, pa.Table) else calls
    rows = 0
    # Counting columns shrink to nothing as differences; the rest repeat, which a dictionary says best.
    counting = {"seq": "DELTA_BINARY_PACKED", "exit_ns": "DELTA_BINARY_PACKED"}
    kinds = schema(CALL_COLUMNS)
    repeating = [name for name in kinds.names if name not in counting and name != "compat"]
    with (
        _private(path) as file,
        pq.ParquetWriter(
            file,
            kinds,
            compression="zstd",
            compression_level=1,
            use_dictionary=repeating,
            dictionary_pagesize_limit=_DICTIONARY_BYTES,
            column_encoding=counting,
        ) as writer,
    ):
        for batch in _one_ahead(iter(batches)):
            rows += batch.num_rows
            writer.write_batch(batch if hide is None else hide.table(batch))
    return rows


def _one_ahead(batches: Iterator[Any]) -> Iterator[Any]:
    """The same, each made by another thread while the one before it is written."""
    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = worker.submit(next, batches, None)
            yield batch


def _publish(whole: Path, folder: Path) -> None:
    check_target(folder)
    if folder.is_dir() and any(folder.iterdir()):
        folder.rename(whole.parent / "replaced")
    whole.rename(folder)

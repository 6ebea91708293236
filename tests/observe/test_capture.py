"""Captures that are missing, foreign, damaged or newer are each told apart."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from peephole.errors import CaptureError
from peephole.observe.capture import open_capture, schema, workplace, write_capture
from peephole.trace import CALL_COLUMNS, GAP_COLUMNS, PROCESS_COLUMNS, Capture, Meta

META = Meta(["true"], "import", 0, 1, 2, 0)


def tables(rows: int = 2) -> tuple[Any, Any, Any]:
    calls = schema(CALL_COLUMNS).empty_table().to_pydict()
    for name in calls:
        calls[name] = list(range(rows)) if name == "seq" else [None] * rows
    return (
        pa.table(calls, schema=schema(CALL_COLUMNS)),
        schema(PROCESS_COLUMNS).empty_table(),
        schema(GAP_COLUMNS).empty_table(),
    )


@pytest.fixture
def capture(tmp_path: Path) -> Capture:
    return write_capture(tmp_path / "capture", *tables(), META)


def change_meta(capture: Capture, **values: Any) -> None:
    path = capture.folder / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_what_was_written_is_read(capture: Capture) -> None:
    assert open_capture(capture.folder) == capture


def test_a_capture_is_private(capture: Capture) -> None:
    assert capture.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in capture.folder.iterdir()} == {0o600}
    assert [path.name for path in capture.folder.parent.iterdir()] == ["capture"]


def test_a_missing_capture_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="no such capture"):
        open_capture(tmp_path / "nothing")


def test_a_folder_of_something_else_is_foreign(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text('{"schema": "other"}')
    with pytest.raises(CaptureError, match="another program"):
        open_capture(tmp_path)
    (tmp_path / "meta.json").unlink()
    with pytest.raises(CaptureError, match="not a capture"):
        open_capture(tmp_path)


def test_a_file_is_not_a_capture(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1 open()")
    with pytest.raises(CaptureError, match="not a capture"):
        open_capture(tmp_path / "file")


def test_a_newer_capture_asks_for_a_newer_peephole(capture: Capture) -> None:
    change_meta(capture, version=99)
    with pytest.raises(CaptureError, match="version 99"):
        open_capture(capture.folder)


@pytest.mark.parametrize("name", ["calls.parquet", "processes.parquet", "gaps.parquet", "meta.json"])
def test_a_cut_off_file_is_named(capture: Capture, name: str) -> None:
    path = capture.folder / name
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(CaptureError, match=f"{name}: cut off or corrupt"):
        open_capture(capture.folder)


def test_random_bytes_in_a_table_are_corrupt(capture: Capture) -> None:
    capture.calls.write_bytes(b"PAR1" + os.urandom(500) + b"PAR1")
    with pytest.raises(CaptureError, match="cut off or corrupt"):
        open_capture(capture.folder)


def test_a_missing_table_is_named(capture: Capture) -> None:
    capture.gaps.unlink()
    with pytest.raises(CaptureError, match=r"gaps\.parquet is missing"):
        open_capture(capture.folder)


def test_a_count_that_differs_is_noticed(capture: Capture) -> None:
    change_meta(capture, events=3)
    with pytest.raises(CaptureError, match="2 calls where"):
        open_capture(capture.folder)


def test_meta_of_a_wrong_shape_is_corrupt(capture: Capture) -> None:
    change_meta(capture, events="many")
    with pytest.raises(CaptureError, match="corrupt"):
        open_capture(capture.folder)


def test_a_capture_that_everybody_may_change_is_refused(capture: Capture) -> None:
    capture.calls.chmod(0o666)
    with pytest.raises(CaptureError, match="everybody may write"):
        open_capture(capture.folder)


def test_an_older_capture_is_replaced_and_anything_else_is_left_alone(capture: Capture, tmp_path: Path) -> None:
    newer = write_capture(capture.folder, *tables(3), replace(META, events=3))
    assert open_capture(newer.folder).meta.events == 3
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("dear")
    with pytest.raises(CaptureError, match="holds other things"):
        write_capture(tmp_path / "home", *tables(), META)
    assert (tmp_path / "home" / "letter").read_text() == "dear"
    (tmp_path / "file").write_text("dear")
    with pytest.raises(CaptureError, match="in the way"):
        write_capture(tmp_path / "file", *tables(), META)


def test_a_failure_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="announced"):
        write_capture(tmp_path / "capture", *tables(), replace(META, events=5))
    with pytest.raises(KeyboardInterrupt), workplace(tmp_path / "capture"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []

"""Captures that are cut off, foreign, corrupt or too new: one clear line, and nothing claimed."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from helpers_capture import PRICES, capture_of

from peephole.diagnose.engine import diagnose
from peephole.diagnose.fleet import opened
from peephole.errors import CaptureError


def _cut(folder: Path) -> None:
    path = folder / "calls.parquet"
    path.write_bytes(path.read_bytes()[:-100])


def _middle(folder: Path) -> None:
    path = folder / "processes.parquet"
    path.write_bytes(b"PAR1" + b"\0" * 64)


def _foreign(folder: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), folder / "calls.parquet")


def _other_types(folder: Path) -> None:
    table = pq.read_table(folder / "calls.parquet")
    at = table.schema.get_field_index("ret")
    pq.write_table(table.set_column(at, "ret", pa.array(["x"] * table.num_rows)), folder / "calls.parquet")


def _rows_missing(folder: Path) -> None:
    pq.write_table(pq.read_table(folder / "calls.parquet").slice(1), folder / "calls.parquet")


def _newer(folder: Path) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, "version": 99}))


def _no_meta(folder: Path) -> None:
    (folder / "meta.json").unlink()


def _half_meta(folder: Path) -> None:
    (folder / "meta.json").write_text('{"schema": "peephole/cap')


def _missing_table(folder: Path) -> None:
    (folder / "gaps.parquet").unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_cut, "cut off or corrupt"),
        (_middle, "cut off or corrupt"),
        (_foreign, "column seq is missing"),
        (_other_types, "column ret is of another type"),
        (_rows_missing, "1 calls where meta.json says 2"),
        (_newer, "version 99"),
        (_no_meta, "not a capture"),
        (_half_meta, "cut off or corrupt"),
        (_missing_table, "gaps.parquet is missing"),
    ],
)
def test_a_bad_capture_is_one_clear_line(spoil: Callable[[Path], None], says: str, tmp_path: Path) -> None:
    folder = capture_of([b"7 getpid() = 7\n", b"7 getpid() = 7\n"], tmp_path / "c").folder
    spoil(folder)
    with pytest.raises(CaptureError) as e, opened([str(folder)]):
        pass
    assert says in str(e.value) and "\n" not in str(e.value) and str(folder) in str(e.value)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7])
def test_a_capture_that_is_corrupt_inside_is_one_clear_line(share: float, tmp_path: Path) -> None:
    lines = [b'7 open("/a", O_RDONLY) = 3\n']
    lines += [
        f'7 lseek(3, 0, SEEK_CUR) = {n * 7919 % 10007}\n7 stat("/{n * 31}", 0x7f) = -1 ENOENT (x)\n'.encode()
        for n in range(3000)
    ]
    capture = capture_of(b"".join(lines).splitlines(True), tmp_path / "c")
    data = bytearray(capture.calls.read_bytes())
    at = int(len(data) * share)
    data[at : at + 200] = bytes(200)
    capture.calls.write_bytes(bytes(data))
    try:
        with opened([str(capture.folder)]) as found:
            diagnose(found, PRICES)
    except CaptureError as e:
        assert "corrupt" in str(e) and "\n" not in str(e)
    # Else what was overwritten is a column that no detector looks at.

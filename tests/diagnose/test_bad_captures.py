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

from peephole.cli import main
from peephole.diagnose.engine import diagnose
from peephole.diagnose.fleet import opened
from peephole.errors import CaptureError
from peephole.observe.capture import schema
from peephole.trace import GAP_COLUMNS


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


def _cut_gaps(folder: Path) -> None:
    path = folder / "gaps.parquet"
    path.write_bytes(path.read_bytes()[:20])


def _cut_stacks(folder: Path) -> None:
    (folder / "stacks.parquet").write_bytes(b"PAR1" + b"\0" * 64)


def _foreign_stacks(folder: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), folder / "stacks.parquet")


def _foreign_meta(folder: Path) -> None:
    (folder / "meta.json").write_text('{"schema": "another/program", "version": 1}')


SPOILT = pytest.mark.parametrize(
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
        (_cut_gaps, "cut off or corrupt"),
        (_cut_stacks, "cut off or corrupt"),
        (_foreign_stacks, "column stack is missing"),
        (_foreign_meta, "of another program"),
    ],
)


@SPOILT
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


@SPOILT
def test_on_the_command_line_it_is_that_line_and_the_exit_code(
    spoil: Callable[[Path], None], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = capture_of([b"7 getpid() = 7\n", b"7 getpid() = 7\n"], tmp_path / "c").folder
    spoil(folder)
    code, out, err = _main(capsys, "diagnose", str(folder), "--json")
    assert (code, out) == (1, "") and says in err and err.startswith("peephole: ") and err.count("\n") == 1


def test_what_losses_withhold_is_said_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peephole.improve.armed.prices_for", lambda place: PRICES)
    lines = [b'7 open("/var/log/app", O_WRONLY|O_CREAT|O_APPEND, 0644) = 3\n', *[b'7 write(3, "line", 4) = 4\n'] * 500]
    capture = capture_of(lines, tmp_path / "c")
    gap = {"cpu": [0], "after_ns": [None], "before_ns": [None], "missing": [5]}
    pq.write_table(pa.table(gap, schema=schema(GAP_COLUMNS)), capture.gaps)
    meta = json.loads((capture.folder / "meta.json").read_text())
    (capture.folder / "meta.json").write_text(json.dumps({**meta, "lost": 5}))
    code, out, err = _main(capsys, "diagnose", str(capture.folder))
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "nothing worth changing",
        "5 events were lost while recording; 1 instances rest on what is missing and were left out",
    ]
    code, out, err = _main(capsys, "diagnose", str(capture.folder), "--json")
    found = json.loads(out)
    assert (found["lost"], found["withheld"], found["findings"]) == (5, 1, [])


def test_a_log_that_is_cut_in_a_line_is_taken_up_to_there_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log").write_bytes(b"7 getpid() = 7\n" * 60 + b'7 read(3, "x')
    code, _out, err = _main(capsys, "import", str(tmp_path / "log"), "-o", str(tmp_path / "c"))
    assert code == 0 and "the last line is cut off and was left out" in err
    with opened([str(tmp_path / "c")]) as (capture,):
        assert (capture.meta.events, capture.meta.lost) == (60, 1)


def _main(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code and output of the command line, run in this process."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["peephole", *words])
        patch.setattr("signal.signal", lambda *what: None)
        main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err

"""A program's time on the CPU, on a machine that others keep busy, too."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from helpers_capture import capture_of

from peephole.diagnose.prices import Beside
from peephole.diagnose.tables import tables_of
from peephole.diagnose.times import RECORDING_NS, Time, add_times
from peephole.observe.capture import open_capture


def _times(tmp_path: Path, **meta: object) -> dict[str, Time]:
    lines = [f"7 1700000000.{at:06} getppid() = 1 <0.000001>\n".encode() for at in range(0, 500_000, 1000)]
    folder = capture_of(lines, tmp_path / "c").folder
    kept = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**kept, **meta}))
    capture = open_capture(folder)
    found: dict[str, Time] = {}
    with tables_of(capture) as tables:
        add_times(tables, capture.meta, found)
    return found


def test_the_time_between_calls_is_the_program_s(tmp_path: Path) -> None:
    (time,) = _times(tmp_path, engine="ebpf").values()
    assert time.busy_ns == 499 * 1_000_000 - 500 * RECORDING_NS["ebpf"]
    assert time.arming_ns(Beside(9000, 300, 20)) == 9000 + 500 * 20
    time.found = 400
    assert time.arming_ns(Beside(9000, 300, 20)) == 9000 + 100 * 20
    time.opens = 30
    assert time.arming_ns(Beside(9000, 300, 20)) == 9000 + 70 * 20 + 30 * 300


def test_but_no_more_than_it_had_of_the_cpu(tmp_path: Path) -> None:
    (time,) = _times(tmp_path, engine="ebpf", cpu_ns=100_000_000).values()
    assert time.busy_ns is not None
    assert abs(time.busy_ns - (100_000_000 - 500 * RECORDING_NS["ebpf"])) <= 1


def test_what_its_calls_do_not_take_lies_between_them(tmp_path: Path) -> None:
    (time,) = _times(tmp_path, engine="ebpf").values()
    time.priced, time.priced_ns = 300, 300 * 2000
    assert time.busy_ns is not None
    assert time.between_ns(1000) == (time.busy_ns - 300 * 2000 - 200 * 1000) / 500
    (tmp_path / "other").mkdir()
    (time,) = _times(tmp_path / "other", engine="strace").values()
    assert time.between_ns(1000) is None, "how long strace itself took is not known"


def test_more_cpu_than_that_changes_nothing(tmp_path: Path) -> None:
    (time,) = _times(tmp_path, engine="ebpf", cpu_ns=900_000_000).values()
    assert time.busy_ns == 499 * 1_000_000 - 500 * RECORDING_NS["ebpf"]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_recorded_command_s_cpu_time_is_kept(tmp_path: Path) -> None:
    loop = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done"
    words = [
        sys.executable,
        "-m",
        "peephole",
        "observe",
        "--engine",
        "ebpf",
        "-o",
        tmp_path / "c",
        "--",
        "sh",
        "-c",
        loop,
    ]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    meta = open_capture(tmp_path / "c").meta
    assert meta.cpu_ns is not None and 0 < meta.cpu_ns <= meta.ended_ns - meta.started_ns

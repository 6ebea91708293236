"""The experiment of `diagnose --what-if`: delays at calls show whether their time is on the critical path."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from peephole.errors import MissingToolError
from peephole.evaluate.what_if import Point, slope_of
from peephole.native import path as native_path

#: small writes one after the other: nothing goes on beside them
CRITICAL = "import sys; f = open(sys.argv[1], 'wb', 0)\nfor i in range(6000): f.write(b'x' * 40)"
#: the same in a thread, while the program waits for something else that takes longer
HIDDEN = (
    "import sys, threading, time\ndef write():\n f = open(sys.argv[1], 'wb', 0)\n"
    " for i in range(6000): f.write(b'x' * 40)\n"
    "t = threading.Thread(target=write); t.start(); time.sleep(2); t.join()"
)


def _points(slope: float, noise: float) -> list[Point]:
    random = np.random.default_rng(7)
    added = [0.0, 0.1, 0.2, 0.3] * 6
    return [Point(x, 1 + slope * x + float(random.normal(0, noise)), 100) for x in added]


@pytest.mark.parametrize(
    ("slope", "noise", "verdict"),
    [(1.0, 0.01, "critical"), (0.5, 0.01, "critical"), (0.0, 0.01, "hidden"), (0.25, 0.3, "unclear")],
)
def test_the_slope_of_a_line_with_noise_is_found(slope: float, noise: float, verdict: str) -> None:
    found = slope_of(_points(slope, noise), [0, 1000, 2000, 3000])
    assert found.low <= slope <= found.high and found.verdict == verdict
    assert (found.runs, found.calls) == (24, 100)


def test_one_run_that_took_long_does_not_bend_the_line() -> None:
    points = [*_points(1.0, 0.005), Point(0.0, 9.0, 100)]
    assert 0.8 < slope_of(points, []).ratio < 1.2


def _peephole(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "peephole", *map(str, words)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def armed() -> None:
    for tool in ("libpeephole.so", "peephole-calibrate"):
        try:
            native_path(tool)
        except MissingToolError as e:
            pytest.skip(str(e))


def _observed(program: str, folder: Path) -> Path:
    command = [sys.executable, "-S", "-c", program, folder / "out"]
    done = _peephole("observe", "-o", folder / "capture", "--", *command)
    assert done.returncode == 0, done.stderr
    return folder / "capture"


@pytest.mark.long
@pytest.mark.parametrize(("program", "verdict"), [(CRITICAL, "critical"), (HIDDEN, "hidden")], ids=["alone", "beside"])
def test_delays_show_whether_calls_are_on_the_critical_path(
    program: str, verdict: str, tmp_path: Path, armed: None
) -> None:
    capture = _observed(program, tmp_path)
    done = _peephole("diagnose", capture, "--what-if", "small_writes", "--rounds", "4", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["what_if"]
    assert found["calls"] == ["write", "writev"] and 6000 <= found["delayed"] < 6100
    assert found["delays_ns"][0] == 0 and len(found["delays_ns"]) == 4 and found["runs"] == 16
    assert found["verdict"] == verdict, found
    shows = found["saving_wall"]["ns"] > 0.25 * json.loads(done.stdout)["findings"][0]["saving"]["ns"]
    assert shows == (verdict == "critical")


def test_what_was_not_found_can_not_be_tried(tmp_path: Path, armed: None) -> None:
    (tmp_path / "log").write_text('stat("/a", {st_mode=S_IFREG|0644, st_size=1, ...}) = 0\n' * 100)
    assert _peephole("import", tmp_path / "log", "-o", tmp_path / "c").returncode == 0
    for slug, says in (("small_writes", "no such finding"), ("repeated_stat", "runs the observed command again")):
        done = _peephole("diagnose", tmp_path / "c", "--what-if", slug)
        assert (done.returncode, done.stdout) == (2, "") and says in done.stderr, done.stderr
    assert _peephole("diagnose", tmp_path / "c", "--drive", "true").returncode == 2


@pytest.mark.skipif(shutil.which("dd") is None, reason="dd is not installed")
def test_delayed_calls_are_counted_and_come_out_the_same(tmp_path: Path, armed: None) -> None:
    import os

    from peephole.improve.arm import arm
    from peephole.observe.syscalls import NUMBERS

    command = ["dd", "if=/dev/zero", f"of={tmp_path / 'out'}", "bs=512", "count=200", "status=none"]
    with arm([]) as delays:
        delays.delay([NUMBERS["write"]], 20_000)
        subprocess.run(command, env=delays.environment(dict(os.environ)), check=True)
        assert delays.delayed() == 200
        delays.delay([NUMBERS["getppid"]], 20_000)
        subprocess.run(command, env=delays.environment(dict(os.environ)), check=True)
        assert delays.delayed() == 0
    assert (tmp_path / "out").read_bytes() == bytes(200 * 512)

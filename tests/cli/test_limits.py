"""No room, and nowhere to write: one clear line, the right exit code, nothing half-written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PEEPHOLE = [sys.executable, "-m", "peephole"]


def peephole(*words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PEEPHOLE, *words], cwd=cwd, env=os.environ | env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=100,
    )  # fmt: skip


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system without room."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    point = tmp_path / "full"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(point)], check=True)
    try:
        (point / "out").mkdir()
        with (point / "fill").open("wb", buffering=0) as fill:
            try:
                while True:
                    fill.write(bytes(4096))
            except OSError:
                pass
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


@pytest.mark.root
def test_a_full_disk_is_named_and_nothing_is_half_written(tmp_path: Path, full: Path) -> None:
    done = peephole("evaluate", "--rules", "off", "-n", "2", "-o", str(full / "out"), "--", "true", cwd=tmp_path)
    assert done.returncode == 1 and not done.stdout
    last = done.stderr.splitlines()[-1]
    assert str(full / "out") in last and "No space left on device; make room" in last, done.stderr
    assert "Traceback" not in done.stderr and not list((full / "out").rglob("*.part"))


@pytest.mark.root
def test_a_report_that_does_not_fit_leaves_no_file(tmp_path: Path, full: Path) -> None:
    done = peephole("evaluate", "--rules", "off", "-n", "2", "-o", "ok", "--", "true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = peephole("report", "ok", "-o", str(full / "page.html"), cwd=tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "page.html: No space left on device" in done.stderr
    assert not list(full.glob("page.html*"))


@pytest.mark.root
def test_a_read_only_home_is_said_once_and_does_not_stop_anything(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(home)], check=True)
    try:
        # An empty XDG variable counts as unset.
        env = {"HOME": str(home), "XDG_STATE_HOME": "", "XDG_CACHE_HOME": "", "TMPDIR": str(elsewhere)}
        done = peephole("evaluate", "--rules", "off", "-n", "2", "--", "true", cwd=tmp_path, **env)
    finally:
        subprocess.run(["umount", str(home)], check=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Read-only file system") == 1 and "the result goes to" in done.stderr
    assert [path.name for path in elsewhere.glob("peephole-true-*/result.json")] == ["result.json"]

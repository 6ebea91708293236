"""peephole observe on the command line: exit codes, one clear line for each failure, nothing left behind."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from recording import program

from peephole.observe.capture import open_capture

WITHOUT_BPF = ["setpriv", "--bounding-set=-sys_admin,-bpf,-perfmon", "--inh-caps=-all"]


def observe(*words: str, prefix: list[str] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [*(prefix or []), sys.executable, "-m", "peephole", "observe", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid():
        pytest.skip("mounting needs root")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("engine", ["ebpf", "ptrace"])
@pytest.mark.root
def test_the_exit_code_and_streams_are_the_command_s(engine: str, tmp_path: Path, need_ebpf: None) -> None:
    out = str(tmp_path / "capture")
    done = observe("--engine", engine, "-o", out, "--", "sh", "-c", "cat; echo err >&2; exit 7", input="some words")
    assert (done.returncode, done.stdout) == (7, "some words")
    first, last = done.stderr.splitlines()
    assert first == "err"
    capture = open_capture(out)
    assert last == f"peephole: {out}: {capture.meta.events} calls, none lost"
    assert capture.meta.engine == engine and capture.meta.exit_status == 7


def test_a_command_that_a_signal_ended_gives_128_and_the_signal(tmp_path: Path) -> None:
    assert observe("-o", str(tmp_path / "c"), "--", "sh", "-c", "kill -SEGV $$").returncode == 139


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [("no-such-command", 127, "not found"), ("./none", 127, "not found"), ("/etc/passwd", 126, "not executable")],
)
def test_a_command_that_can_t_start_is_one_line(command: str, code: int, words: str, tmp_path: Path) -> None:
    done = observe("-o", str(tmp_path / "capture"), "--", command)
    assert (done.returncode, only_line(done)) == (code, f"peephole: {command}: {words}")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_the_kernel_refuses_is_not_executable(tmp_path: Path) -> None:
    file = tmp_path / "odd"
    file.write_bytes(b"not a program")
    file.chmod(0o755)
    done = observe("-o", str(tmp_path / "capture"), "--engine", "auto", "--", str(file))
    if not os.geteuid():
        assert done.returncode == 126
        assert "not executable" in only_line(done)


def test_a_place_that_can_t_hold_a_capture_is_refused_before_the_start(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear")
    mark = tmp_path / "mark"
    for place in (tmp_path, tmp_path / "letter", tmp_path / "none" / "capture"):
        done = observe("-o", str(place), "--", "touch", str(mark))
        assert done.returncode == 1
        only_line(done)
    assert not mark.exists()


def test_no_command_is_wrong_usage(tmp_path: Path) -> None:
    assert observe("-o", str(tmp_path / "capture")).returncode == 2
    assert observe("--engine", "magic", "--", "true").returncode == 2


@pytest.mark.root
def test_without_bpf_it_falls_back_and_says_why_once(tmp_path: Path) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    out = tmp_path / "capture"
    done = observe("-o", str(out), "--", "true", prefix=WITHOUT_BPF)
    assert done.returncode == 0
    why, last = done.stderr.splitlines()
    assert why.startswith("peephole: recorded by ptrace, since ebpf: the kernel refuses BPF")
    assert last.startswith(f"peephole: {out}: ")
    assert open_capture(out).meta.why_not_better in why


@pytest.mark.root
def test_with_neither_engine_it_is_one_line(tmp_path: Path) -> None:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv is not installed")
    done = observe(
        "-o",
        str(tmp_path / "c"),
        "--",
        "/bin/true",
        prefix=[setpriv, *WITHOUT_BPF[1:]],
        env={**os.environ, "PATH": "/none"},
    )
    assert done.returncode == 1
    assert "strace is not installed" in only_line(done)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.root
@pytest.mark.parametrize(("engine", "calls"), [("ebpf", "300000"), ("inprocess", "300000"), ("ptrace", "60000")])
def test_a_full_disk_is_one_line_and_the_command_is_not_disturbed(
    engine: str, calls: str, small_disk: Path, tmp_path: Path, need_ebpf: None
) -> None:
    mark = tmp_path / "mark"
    script = f"{program('calls_many')} calls {calls} && echo >{mark}"
    done = observe("--engine", engine, "-o", str(small_disk / "capture"), "--", "sh", "-c", script)
    assert done.returncode == 1
    assert "the disk is full" in only_line(done)
    assert mark.exists()
    assert list(small_disk.iterdir()) == []


@pytest.mark.root
def test_ctrl_c_on_a_terminal_reaches_the_command_once(tmp_path: Path, need_ebpf: None) -> None:
    log, out = tmp_path / "log", tmp_path / "capture"
    script = (
        f"trap 'echo int >>{log}' INT; echo start >>{log}; while [ ! -e {tmp_path}/stop ]; do sleep 0.05; done; exit 5"
    )
    pid, terminal = pty.fork()
    if not pid:
        words = [sys.executable, "-m", "peephole", "observe", "-o", str(out), "--", "sh", "-c", script]
        os.execv(sys.executable, words)
    while not log.exists():
        time.sleep(0.02)
    os.write(terminal, b"\x03")
    time.sleep(0.5)
    (tmp_path / "stop").touch()
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert log.read_text() == "start\nint\n"
    assert os.waitstatus_to_exitcode(status) == 5
    assert open_capture(out).meta.exit_status == 5

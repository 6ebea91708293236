"""peephole import: one log, a log a thread, standard input, and what a killed recorder left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from recording import program, rows

from peephole.observe.capture import open_capture

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
IMPORT = [sys.executable, "-m", "peephole", "import"]


def imported(file: str, out: Path, **options: Any) -> Any:
    done = subprocess.run([*IMPORT, file, "-o", str(out)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return open_capture(out)


#: what strace can be told about times, descriptors and strings, in all the ways that change its lines
VARIANTS = [
    ["-f"],
    ["-f", "-t"],
    ["-f", "-tt", "-T"],
    ["-f", "-ttt", "-T", "-y"],
    ["-f", "-r"],
    ["-f", "-yy", "-s", "0"],
    ["-f", "-i", "-n"],
    ["-f", "-xx", "-v", "-X", "raw"],
    ["-f", "-X", "verbose", "-a", "1"],
    ["-f", "-Y", "-ttt", "--relative-timestamps"],
]


@needs_strace
@pytest.mark.parametrize("flags", VARIANTS, ids=lambda flags: "".join(flags))
def test_every_way_to_write_it_gives_the_same_calls(flags: list[str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = subprocess.run(["strace", *flags, "-o", log, program("calls_many"), "chain", "3"], capture_output=True)
    if done.returncode != 3:
        pytest.skip(f"this strace does not know {flags}: {done.stderr.decode()[:80]}")
    capture = imported(str(log), tmp_path / "capture")
    names = Counter(call["name"] for call in rows(capture))
    assert names["execve"] == 4 and names["exit_group"] == 4 and names["wait4"] == 3
    processes = rows(capture, "processes")
    assert len({p["pid"] for p in processes}) == 4
    assert Counter(p["exit_code"] for p in processes if p["exit_code"] is not None) == Counter(
        [3 << 8, 1 << 8, 2 << 8, 3 << 8]
    )


@needs_strace
def test_a_log_a_thread_is_put_together_by_time(tmp_path: Path) -> None:
    log = tmp_path / "log"
    subprocess.run(["strace", "-ff", "-ttt", "-T", "-o", log, program("calls_many"), "chain", "3"], check=False)
    assert not log.exists()
    capture = imported(str(log), tmp_path / "capture")
    calls, processes = rows(capture), rows(capture, "processes")
    assert len({p["pid"] for p in processes}) == 4 and len({p["ppid"] for p in processes}) == 4
    assert Counter(call["name"] for call in calls)["execve"] == 4
    times = [call["enter_ns"] for call in calls]
    assert times == sorted(times)


@needs_strace
def test_logs_a_thread_without_times_are_one_clear_error(tmp_path: Path) -> None:
    log = tmp_path / "log"
    subprocess.run(["strace", "-ff", "-o", log, program("calls_many"), "chain", "2"], check=False)
    done = subprocess.run([*IMPORT, str(log), "-o", str(tmp_path / "capture")], capture_output=True, text=True)
    assert done.returncode == 1 and "use -ttt" in done.stderr and len(done.stderr.splitlines()) == 1


@needs_strace
def test_signals_and_32_bit_calls_are_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    subprocess.run(["strace", "-f", "-o", log, program("calls_many"), "handler"], check=True)
    names = [call["name"] for call in rows(imported(str(log), tmp_path / "signals"))]
    assert names[names.index("tgkill") + 1] == "rt_sigreturn"
    done = subprocess.run(["strace", "-f", "-o", log, program("calls_many"), "compat"], check=False)
    if done.returncode == 0:
        names = [call["name"] for call in rows(imported(str(log), tmp_path / "compat"))]
        assert names[-3:] == ["getpid", "close", "exit_group"]


@pytest.mark.root
def test_what_a_killed_observe_left_is_imported(need_ebpf: None, tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "peephole",
        "observe",
        "-o",
        str(tmp_path / "c"),
        "--",
        program("calls_hard"),
        "serve",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as peephole:
        assert peephole.stdout is not None and peephole.stdout.readline() == b"ready\n"
        time.sleep(0.5)
        recorder = int(Path(f"/proc/{peephole.pid}/task/{peephole.pid}/children").read_text().split()[0])
        server = int(Path(f"/proc/{recorder}/task/{recorder}/children").read_text().split()[0])
        for pid in (peephole.pid, recorder, server):
            os.kill(pid, signal.SIGKILL)
    (left,) = tmp_path.glob(".c.*.partial")
    capture = imported(str(left), tmp_path / "again")
    beats = [c["a1"] for c in rows(capture) if c["name"] == "getpriority" and c["a0"] == 88]
    assert capture.meta.incomplete and len(beats) > 10 and beats == list(range(len(beats)))

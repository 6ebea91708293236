"""Measured runs, against the real kernel."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from peephole.errors import RunError, UsageError
from peephole.evaluate.run import driver_figures, run, unit_of
from peephole.evaluate.workload import Workload, parse_ready, parse_same, split, spool_stdin


def workload(tmp_path: Path, *command: str, **more: object) -> Workload:
    return Workload(command, tmp_path, dict(os.environ), file_systems=(tmp_path,), **more)  # type: ignore[arg-type]


def python(code: str) -> tuple[str, str, str]:
    return sys.executable, "-c", code


def alive(marker: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if marker.encode() in words:
                found.append(int(entry.name))
    return found


def test_a_run_tells_what_it_cost_and_keeps_its_streams(tmp_path: Path) -> None:
    code = "import sys\nprint('out'); print('err', file=sys.stderr)\nfor i in range(10**6): pass"
    one = run(workload(tmp_path, *python(code)), dict(os.environ), tmp_path / "run")
    assert one.exit_code == 0
    assert one.stdout.read_text() == "out\n" and one.stderr.read_text() == "err\n"
    assert 0 < one.figures["cpu"] < one.figures["wall"] + 1
    assert {"cpu", "wall", "system_cpu", "flush", "context_switches", "page_faults", "bytes_written"} <= set(
        one.figures
    )


def test_an_orphan_is_waited_for_and_its_cpu_counts(tmp_path: Path) -> None:
    burn = "for i in range(4 * 10**6): pass"
    code = f"import os\nif os.fork() == 0:\n    os.setsid()\n    {burn}\n    os._exit(0)"
    alone = run(workload(tmp_path, *python("pass")), dict(os.environ), tmp_path / "a")
    orphaned = run(workload(tmp_path, *python(code)), dict(os.environ), tmp_path / "b")
    assert orphaned.figures["cpu"] > 2 * alone.figures["cpu"]
    assert orphaned.left_behind == 0


def test_a_daemon_that_stays_is_ended_and_named(tmp_path: Path) -> None:
    marker = f"marker-{os.getpid()}-{time.monotonic_ns()}"
    code = (
        f"import os\nif os.fork() == 0:\n    os.setsid()\n    os.execlp('sh', 'sh', '-c', 'sleep 600; :', '{marker}')"
    )
    one = run(workload(tmp_path, *python(code), grace_s=0.2), dict(os.environ), tmp_path / "run")
    assert one.left_behind > 0
    assert alive(marker) == []


def test_a_timeout_kills_the_whole_tree(tmp_path: Path) -> None:
    marker = f"marker-{os.getpid()}-{time.monotonic_ns()}"
    one = run(
        workload(tmp_path, "sh", "-c", f"sh -c 'sleep 600; :' {marker} & sleep 600; :", timeout_s=0.3),
        dict(os.environ),
        tmp_path / "run",
    )
    assert one.timed_out and one.exit_code == -signal.SIGKILL
    assert alive(marker) == []


def test_standard_input_without_end_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10 << 20))
    with open("/dev/zero", "rb") as zeros, pytest.raises(RunError, match="more than half"):  # noqa: PTH123
        spool_stdin(zeros.fileno(), tmp_path / "stdin")
    assert not (tmp_path / "stdin").exists()


def test_standard_input_is_spooled_once_and_replayed(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, b"once\n")
    os.close(write)
    spooled = spool_stdin(read, tmp_path / "stdin")
    os.close(read)
    job = workload(tmp_path, "cat", stdin=spooled)
    for side in "ab":
        assert run(job, job.env, tmp_path / side).stdout.read_text() == "once\n"


def test_no_input_reads_as_empty(tmp_path: Path) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    assert spool_stdin(null, tmp_path / "stdin") == Path(os.devnull)
    os.close(null)


def test_fresh_runs_before_each_run_and_its_failure_is_one_line(tmp_path: Path) -> None:
    job = workload(tmp_path, "sh", "-c", "cat state; echo more >>state", fresh=("sh", "-c", "echo new >state"))
    for side in "ab":
        assert run(job, job.env, tmp_path / side).stdout.read_text() == "new\n"
    broken = workload(tmp_path, "true", fresh=("sh", "-c", "echo no room >&2; exit 3"))
    with pytest.raises(RunError, match="--fresh sh ended with code 3: no room"):
        run(broken, broken.env, tmp_path / "c")


def test_a_program_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    job = workload(tmp_path, "./nosuch")
    with pytest.raises(RunError, match=r"\./nosuch: .*No such file"):
        run(job, job.env, tmp_path / "run")


SERVER = """
import socket, signal, sys
s = socket.socket(socket.AF_UNIX); s.bind('sock'); s.listen()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    c, _ = s.accept()
    try: c.sendall(b'hi')
    except OSError: pass
    c.close()
"""
DRIVER = """
import json, socket
for _ in range(50):
    s = socket.socket(socket.AF_UNIX); s.connect('sock'); assert s.recv(9) == b'hi'
print('done'); print(json.dumps({'requests_per_s': 123.5, 'name': 'x', 'ok': True}))
"""


def test_a_server_is_started_driven_and_stopped(tmp_path: Path) -> None:
    job = workload(tmp_path, *python(SERVER), drive=python(DRIVER), ready=("unix", "sock"), fresh=("rm", "-f", "sock"))
    one = run(job, job.env, tmp_path / "run")
    assert (one.exit_code, one.drive_exit, one.killed) == (0, 0, False)
    assert one.figures["driver.requests_per_s"] == 123.5
    assert "driver.ok" not in one.figures and "driver.name" not in one.figures


def test_the_drivers_cpu_is_not_the_servers(tmp_path: Path) -> None:
    lazy = ("sh", "-c", "trap 'exit 0' TERM; touch up; sleep 600 & wait")
    busy = python("for i in range(10**7): pass")
    job = workload(
        tmp_path, *lazy, drive=busy, grace_s=0.1, ready=("file", str(tmp_path / "up")), fresh=("rm", "-f", "up")
    )
    one = run(job, job.env, tmp_path / "run")
    assert one.figures["cpu"] < one.figures["wall"] / 2


def test_a_server_that_is_never_ready_is_one_line(tmp_path: Path) -> None:
    job = workload(tmp_path, "sleep", "600", drive=("true",), ready=("tcp", "1"), ready_timeout_s=0.2)
    with pytest.raises(RunError, match=r"the server was not ready after 0\.2 s"):
        run(job, job.env, tmp_path / "run")
    gone = workload(tmp_path, "true", drive=("true",), ready=("tcp", "1"))
    with pytest.raises(RunError, match="the server ended before it was ready"):
        run(gone, gone.env, tmp_path / "run")


def test_a_server_that_ignores_term_is_killed_after_the_grace(tmp_path: Path) -> None:
    stubborn = ("sh", "-c", "trap '' TERM; touch up; while :; do sleep 0.05; done")
    job = workload(tmp_path, *stubborn, drive=("true",), ready=("file", str(tmp_path / "up")), grace_s=0.3)
    one = run(job, job.env, tmp_path / "run")
    assert one.killed and one.exit_code == -signal.SIGKILL


def test_only_numbers_of_the_last_line_are_driver_figures(tmp_path: Path) -> None:
    said = tmp_path / "said"
    said.write_text('{"early": 1}\n{"tps": 5, "latency_ms": 2.5}\n')
    assert driver_figures(said) == {"driver.tps": 5.0, "driver.latency_ms": 2.5}
    said.write_text("no json\n")
    assert driver_figures(said) == {}
    assert unit_of("driver.requests_per_s")[1] == "higher" and unit_of("driver.latency_ms")[1] == "lower"


def test_words_are_split_as_a_shell_does_and_errors_name_the_option() -> None:
    assert split("sh -c 'a b'", "--fresh") == ("sh", "-c", "a b")
    with pytest.raises(UsageError, match="--fresh"):
        split("'open", "--fresh")
    with pytest.raises(UsageError, match="--drive"):
        split("", "--drive")


def test_wrong_specs_are_usage_errors() -> None:
    for wrong in ("out", "files:", "exit:1", "exec:"):
        with pytest.raises(UsageError, match="--same"):
            parse_same((wrong,))
    with pytest.raises(UsageError, match="--same none"):
        parse_same(("none", "exit"))
    assert parse_same(("none",)) == ()
    for wrong in ("tcp:x", "tcp:70000", "udp:1", "file:"):
        with pytest.raises(UsageError, match="--ready"):
            parse_ready(wrong)

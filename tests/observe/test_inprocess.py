"""What programs write of themselves is what they called."""

from __future__ import annotations

import mmap
import os
import re
import signal
import struct
import subprocess
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recording import program, rows
from test_recorder import between_marks, printed

from peephole.errors import EngineError, RunError
from peephole.improve.record import INPROCESS
from peephole.observe.launch import Launch
from peephole.observe.records import CALL
from peephole.observe.ring import new_ring


@pytest.fixture
def record(tmp_path: Path) -> Any:
    reason = INPROCESS.why_not()
    if reason:
        pytest.skip(reason)

    def run(*command: str, name: str = "capture", **options: Any) -> tuple[Any, int]:
        with (tmp_path / "stdout").open("wb") as stdout:
            return INPROCESS.record(Launch(list(command), stdout=stdout), tmp_path / name, **options)

    return run


def test_the_capture_is_what_the_program_prints(record: Any, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    capture, code = record(program("calls_made_libc"), str(tmp_path / "work"))
    assert code == 0 and capture.meta.lost == 0 and capture.meta.machine["sites_unpatched"] == 0
    lines = [
        (pid, tid, name, ret, *paths)
        for pid, tid, name, ret, _, _, *paths in printed((tmp_path / "stdout").read_bytes())
    ]
    calls = rows(capture)
    keys = ("pid", "tid", "name", "ret", "path", "path2")
    root = lines[0][0]
    inside = [tuple(call[key] for key in keys) for call in between_marks(calls) if call["tid"] == root]
    assert inside == [line for line in lines if line[1] == root]
    thread = next(line[1] for line in lines if line[2] == "gettid")
    of_thread = [tuple(call[key] for key in keys) for call in calls if call["tid"] == thread]
    assert [line for line in of_thread if line[2] in ("gettid", "access")] == [
        line for line in lines if line[1] == thread
    ]
    assert thread != root
    child = next(line[3] for line in lines if line[2] == "fork")
    mine = [call for call in calls if call["pid"] == child]
    assert [(call["name"], call["path"]) for call in mine] == [
        ("getpid", None),
        ("execve", b"./missing"),
        ("execve", b"/proc/self/exe"),
        ("exit_group", None),
    ]
    images = [row for row in rows(capture, "processes") if row["pid"] == child]
    assert [row["exit_code"] for row in images] == [None, 7 << 8]
    assert images[1]["argv"][1:] == [b"--exit", b"\xc3\x28 words"]
    assert images[1]["exe"] == os.fsencode(os.path.realpath(program("calls_made_libc")))
    assert [mine[2]["image"], mine[-1]["image"]] == [row["image"] for row in images]
    assert all(call["dev"] is None and call["ofd"] is None and call["blocked_ns"] is None for call in calls)


def test_times_are_of_the_clock_of_every_capture(record: Any) -> None:
    capture, _ = record("sh", "-c", "sleep 0.05; true")
    for call in rows(capture):
        assert call["enter_ns"] is None or call["enter_ns"] <= call["exit_ns"]
        assert capture.meta.started_ns <= call["exit_ns"] <= capture.meta.ended_ns
    slept = next(call for call in rows(capture) if call["name"] == "clock_nanosleep")
    assert slept["exit_ns"] - slept["enter_ns"] >= 50_000_000


def test_what_a_small_ring_loses_is_counted_to_the_last_call(record: Any) -> None:
    whole, _ = record(program("calls_many"), "calls", "0", name="whole")
    capture, _ = record(program("calls_many"), "calls", "300000", ring_bytes=8192)
    assert whole.meta.lost == 0 and capture.meta.lost > 0
    assert capture.meta.events + capture.meta.lost == whole.meta.events + 300_000
    gaps = rows(capture, "gaps")
    assert sum(gap["missing"] for gap in gaps) == capture.meta.lost
    assert all(gap["missing"] > 0 for gap in gaps)


def test_a_ring_that_starts_again_loses_nothing(record: Any) -> None:
    capture, _ = record(program("calls_many"), "calls", "300000")
    assert capture.meta.lost == 0
    made = [call for call in rows(capture) if call["name"] == "getppid"]
    assert len(made) == 300_000 and len({call["seq"] for call in made}) == 300_000
    assert all(call["enter_ns"] is None and call["ret"] == made[0]["ret"] for call in made)


def readers() -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            pid, name, ppid = re.match(r"(\d+) \((.*)\) \S (\d+)", entry.read_text()).groups()  # type: ignore[union-attr]
            found += [int(pid)] if name == "peephole-ring" and int(ppid) == os.getpid() else []
    return found


def test_a_reader_that_does_not_run_for_a_while_costs_no_record(record: Any, tmp_path: Path) -> None:
    many, before, after, go = program("calls_many"), *(tmp_path / name for name in ("before", "after", "go"))
    for fifo in (before, after, go):
        os.mkfifo(fifo)

    def hold() -> None:
        before.read_bytes()
        time.sleep(0.3)  # time to read everything, so that the ring starts again
        (reader,) = readers()
        os.kill(reader, signal.SIGSTOP)
        go.write_text("go\n")
        after.read_bytes()
        os.kill(reader, signal.SIGCONT)

    holding = threading.Thread(target=hold)
    holding.start()
    script = f"{many} calls 20000; echo >{before}; read word <{go}; {many} calls 100000; echo >{after}"
    capture, code = record("taskset", "--cpu-list", "0", "sh", "-c", script)  # one lane's
    holding.join()
    assert code == 0 and capture.meta.lost == 0
    made = Counter(call["pid"] for call in rows(capture) if call["name"] == "getppid")
    assert made.most_common(2)[0][1] == 100_000 and made.most_common(2)[1][1] == 20_000


def test_a_record_that_a_killed_process_left_is_one_hole(tmp_path: Path) -> None:
    ended = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True)
    pid, calls, words = int(ended.stdout), 3, 6
    ring = new_ring(tmp_path / "ring", tmp_path, 1 << 20)
    try:
        with (tmp_path / "ring").open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            lane, data = 4096, 4096 + -(-(os.cpu_count() or 1) * 128 // 4096) * 4096
            for i in range(calls):
                place = i * words
                ready = 0 if i == 1 else 1 << 63
                word = words | place << 22 | ready
                record = (word, pid | pid << 22 | 110 << 44, 10_000 + i, 0, 7, 0)
                memory[data + 8 * place : data + 8 * (place + words)] = struct.pack("<6Q", *record)
            memory[lane : lane + 8] = struct.pack("<Q", calls * words)
        found = ring.finish()
    finally:
        ring.close()
    assert found["cpus"][0] == [3, 0, 0, 0, 0] and found["left"] == 0
    kept = np.fromfile(tmp_path / "calls.raw", dtype=CALL)
    assert kept["seq"].tolist() == [1, 3] and kept["nr"].tolist() == [110, 110] and kept["pid"].tolist() == [pid, pid]


def test_short_processes_are_all_seen(record: Any) -> None:
    capture, code = record(program("calls_many"), "processes", "300")
    assert code == 0 and capture.meta.lost == 0
    processes = rows(capture, "processes")
    assert len(processes) == 301
    assert Counter(row["exit_code"] >> 8 for row in processes[1:]) == Counter(i & 127 for i in range(300))


def test_a_chain_of_fork_vfork_and_exec_is_followed_to_its_end(record: Any) -> None:
    capture, code = record(program("calls_many"), "chain", "6")
    assert code == 6
    processes = rows(capture, "processes")
    assert len({row["pid"] for row in processes}) == 7
    by_pid = {row["pid"]: row["ppid"] for row in processes}
    last = next(row["pid"] for row in processes if row["argv"][-1] == b"0")
    depth = 0
    while last in by_pid:
        last, depth = by_pid[last], depth + 1
    assert depth == 7


def test_what_is_not_covered_is_said(record: Any, tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text("#include <unistd.h>\nint main(void) { return getppid() < 0; }\n")
    subprocess.run(["gcc", "-static", "-o", tmp_path / "fixed", tmp_path / "main.c"], check=True)
    capture, code = record("sh", "-c", f"{tmp_path}/fixed; true")
    assert code == 0
    assert [(one["exe"], one["why"]) for one in capture.meta.machine["not_covered"]] == [
        (f"{tmp_path}/fixed", "static")
    ]


def test_a_program_that_shuts_itself_in_goes_on_unseen(record: Any, tmp_path: Path) -> None:
    bare = subprocess.run([program("conform_processes")], capture_output=True)
    capture, code = record(program("conform_processes"))
    assert code == bare.returncode == 0
    assert "below a filter: exit 0" in (tmp_path / "stdout").read_text()
    assert "sandbox" in {one["why"] for one in capture.meta.machine["not_covered"]}


def test_a_time_limit_kills_the_command(record: Any, tmp_path: Path) -> None:
    launch = Launch(["sh", "-c", f"echo $$ >{tmp_path}/pid; sleep 60; true"], timeout=1)
    with pytest.raises(RunError, match="not done after 1 s"):
        INPROCESS.record(launch, tmp_path / "capture")
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_it_joins_nothing_that_runs(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="commands only"):
        INPROCESS.record(Launch([], pid=os.getpid()), tmp_path / "capture")

"""What was called is what the capture says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from recording import program, rows

from peephole.errors import RunError
from peephole.observe import ebpf, ptrace
from peephole.observe.launch import Launch

pytestmark = pytest.mark.root

Line = tuple[Any, ...]


def printed(text: bytes) -> list[Line]:
    """The lines of calls_made: pid, tid, name, result, size, offset, path, path2."""
    lines = []
    for line in text.decode().splitlines():
        pid, tid, name, ret, size, offset, *paths = line.split("\t")
        known = [None if number == "-1" else int(number) for number in (size, offset)]
        words = [None if path == "-" else bytes.fromhex(path[1:]) for path in paths]
        lines.append((int(pid), int(tid), name, int(ret), *known, *words))
    return lines


def recorded(calls: list[dict[str, Any]], tid: int) -> list[Line]:
    names = ("pid", "tid", "name", "ret", "size", "offset", "path", "path2")
    return [tuple(call[name] for name in names) for call in calls if call["tid"] == tid]


def between_marks(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    first, last = (
        next(i for i, call in enumerate(calls) if call["name"] == "getpriority" and call["a1"] == mark)
        for mark in (1, 2)
    )
    return [call for call in calls[first + 1 : last] if call["pid"] == calls[first]["pid"]]


@pytest.fixture(scope="module")
def made(need_ebpf: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[dict[str, Any]], list[Line]]:
    folder = tmp_path_factory.mktemp("made")
    (folder / "work").mkdir()
    with (folder / "stdout").open("wb") as stdout:
        capture, code = ebpf.record(
            Launch([program("calls_made"), str(folder / "work")], stdout=stdout), folder / "capture"
        )
    assert code == 0
    return capture, rows(capture), printed((folder / "stdout").read_bytes())


def test_every_call_is_recorded_with_its_result_size_offset_and_paths(made: Any) -> None:
    _, calls, lines = made
    root = lines[0][0]
    inside = between_marks(calls)
    assert recorded(inside, root) == [line for line in lines if line[1] == root]


def test_a_child_is_recorded_from_its_first_call_to_its_exec_and_exit(made: Any) -> None:
    capture, calls, lines = made
    child = next(line[3] for line in lines if line[2] == "fork")
    mine = [call for call in calls if call["pid"] == child]
    assert [call["name"] for call in mine[:3]] == ["getpid", "execve", "execve"]
    assert (mine[1]["ret"], mine[1]["path"]) == (-2, b"./missing")
    assert (mine[2]["ret"], mine[2]["path"], mine[2]["a0"]) == (0, b"/proc/self/exe", None)
    assert (mine[-1]["name"], mine[-1]["a0"], mine[-1]["ret"]) == ("exit_group", 7, None)
    images = [row for row in rows(capture, "processes") if row["pid"] == child]
    assert [row["exit_code"] for row in images] == [None, 7 << 8]
    assert images[1]["argv"][1:] == [b"--exit", b"\xc3\x28 words"]
    assert images[1]["exe"] == os.fsencode(os.path.realpath(program("calls_made")))
    assert [mine[2]["image"], mine[-1]["image"]] == [row["image"] for row in images]


def test_a_thread_has_its_own_tid_and_its_process_s_pid(made: Any) -> None:
    _, calls, lines = made
    pid, tid = next((line[0], line[1]) for line in lines if line[2] == "gettid")
    assert pid != tid
    wanted = [line for line in lines if line[1] == tid]
    assert [line for line in recorded(calls, tid) if line[2] in ("gettid", "access")] == wanted


def test_dup_keeps_the_description_and_a_second_open_gets_another(made: Any) -> None:
    _, calls, _ = made
    inside = between_marks(calls)
    opened = [call for call in inside if call["name"] in ("openat", "open") and call["ret"] >= 0]
    first, second = opened[0]["ofd"], opened[1]["ofd"]
    assert first is not None and second is not None and first != second
    dup = next(call for call in inside if call["name"] == "dup")
    assert dup["ofd"] == first
    assert next(call for call in inside if call["name"] == "read" and call["a0"] == dup["ret"])["ofd"] == first
    assert {call["ino"] for call in opened} == {opened[0]["ino"]} and opened[0]["ftype"] == 8


def test_close_names_the_description_that_it_closed(made: Any) -> None:
    _, calls, _ = made
    inside = between_marks(calls)
    opened = [call["ofd"] for call in inside if call["name"] in ("openat", "open") and call["ret"] >= 0]
    closes = [call for call in inside if call["name"] == "close"]
    assert [call["ofd"] for call in closes] == [opened[0], opened[1], opened[0], None]
    assert closes[0]["ino"] == next(call["ino"] for call in inside if call["name"] == "openat")


def test_a_file_is_known_by_what_stat_says_of_it(record: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 77)
    capture, _ = record("cat", str(path))
    opened = next(call for call in rows(capture) if call["path"] == os.fsencode(path))
    info = path.stat()
    assert (opened["dev"], opened["ino"], opened["size"]) == (info.st_dev, info.st_ino, 77)


def test_an_address_that_is_used_again_is_another_description(record: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    capture, code = record(program("calls_many"), "files", str(path))
    assert code == 0
    calls = [call for call in rows(capture) if call["ino"] == path.stat().st_ino]
    per_ofd = Counter(call["ofd"] for call in calls)
    assert len(per_ofd) == 1000
    assert set(per_ofd.values()) == {6}  # open, read, fcntl, pread, close, close


def test_both_ends_of_a_pipe_are_followed_into_the_child(record: Any) -> None:
    capture, code = record(program("calls_many"), "pipe")
    assert code == 0
    calls = rows(capture)
    at = next(i for i, call in enumerate(calls) if call["name"] in ("pipe", "pipe2"))
    after = calls[at:]
    read_end = after[0]["ofd"]
    write_end = next(call["ofd"] for call in after if call["name"] == "write" and call["ftype"] == 1)
    assert read_end != write_end
    assert next(call for call in after if call["name"] == "read" and call["ftype"] == 1)["ofd"] == read_end
    closed = Counter(call["ofd"] for call in after if (call["name"] == "close" and call["ftype"] == 1) or call["ofd"])
    assert closed[write_end] >= 2 and closed[read_end] >= 3


def test_two_thousand_short_processes_are_all_seen(record: Any) -> None:
    capture, code = record(program("calls_many"), "processes", "2000")
    assert code == 0 and capture.meta.lost == 0
    processes = rows(capture, "processes")
    assert len(processes) == 2001
    assert Counter(row["exit_code"] >> 8 for row in processes[1:]) == Counter(i & 127 for i in range(2000))
    exits = [call for call in rows(capture) if call["name"] == "exit_group"]
    assert len(exits) == 2001


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


def test_a_burst_loses_nothing(record: Any) -> None:
    capture, _ = record(program("calls_many"), "calls", "500000")
    assert capture.meta.lost == 0
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    names = pq.read_table(capture.calls, columns=["name"])["name"]
    assert pc.sum(pc.equal(names.cast("string"), "getppid")).as_py() == 500_000


def test_what_a_small_ring_loses_is_counted_to_the_last_call(record: Any) -> None:
    whole, _ = record(program("calls_many"), "calls", "0", name="whole")
    capture, _ = record(program("calls_many"), "calls", "500000", ring_bytes=4096)
    assert capture.meta.lost > 0
    assert capture.meta.events + capture.meta.lost == whole.meta.events + 500_000
    gaps = rows(capture, "gaps")
    assert sum(gap["missing"] for gap in gaps) == capture.meta.lost
    assert all(
        gap["before_ns"] is None or gap["after_ns"] is None or gap["after_ns"] < gap["before_ns"] for gap in gaps
    )


def test_a_32_bit_call_is_of_the_other_table(record: Any) -> None:
    capture, code = record(program("calls_many"), "compat")
    if code:
        pytest.skip("the kernel has no 32-bit calls")
    calls = [call for call in rows(capture) if call["compat"]]
    assert [(call["name"], call["nr"], call["a0"], call["ret"]) for call in calls] == [
        ("getpid", 20, 0, calls[0]["pid"]),
        ("close", 6, 0xFFFFFFFF, -9),
    ]


def test_the_return_from_a_handler_is_a_call(record: Any) -> None:
    capture, _ = record(program("calls_many"), "handler")
    names = [call["name"] for call in rows(capture)]
    assert names[names.index("tgkill") + 1] == "rt_sigreturn"


def test_raw_tracepoints_see_the_same(record: Any) -> None:
    seen = []
    for hook in ("tp_btf", "raw_tp"):
        capture, code = record(program("calls_many"), "chain", "4", name=hook, hook=hook)
        assert code == 4 and capture.meta.machine["hook"] == hook
        seen.append([(call["name"], call["ret"], call["path"]) for call in rows(capture) if call["name"] != "brk"])
    assert Counter(line[0] for line in seen[0]) == Counter(line[0] for line in seen[1])
    assert {line[2] for line in seen[0]} == {line[2] for line in seen[1]}


def test_a_time_limit_kills_the_whole_tree_and_keeps_nothing(need_ebpf: None, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not done after 1 s"):
        ebpf.record(Launch(["sh", "-c", f"echo $$ >{tmp_path}/pid; sleep 60; true"], timeout=1), tmp_path / "capture")
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["pid"]


def test_what_was_lost_ends_what_is_known_of_an_address(record: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    capture, _ = record(program("calls_many"), "files", str(path), ring_bytes=4096)
    assert capture.meta.lost > 0
    before: dict[int, int] = {}
    ends = sorted(gap["before_ns"] for gap in rows(capture, "gaps") if gap["before_ns"])
    for call in rows(capture):
        if call["ofd"] is not None and call["name"] != "close":
            gap = sum(end <= call["exit_ns"] for end in ends)
            assert before.setdefault(call["ofd"], gap) == gap


def test_the_command_goes_on_when_the_recorder_is_killed(need_ebpf: None, tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    spill.mkdir()
    script = f"echo $$ >{tmp_path}/pid; sleep 1; echo done >{tmp_path}/done"
    with subprocess.Popen([program("peephole-record"), "--out", spill, "--", "sh", "-c", script]) as recorder:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
            time.sleep(0.01)
        recorder.kill()
    deadline = time.monotonic() + 20
    while not (tmp_path / "done").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "done").read_text() == "done\n"


def test_a_signal_is_the_command_s_and_what_was_recorded_is_kept(need_ebpf: None, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "peephole", "observe", "-o", str(tmp_path / "capture"), "--"]
    script = f"echo >{tmp_path}/started; exec sleep 30"
    with subprocess.Popen([*words, "sh", "-c", script], stderr=subprocess.PIPE, start_new_session=True) as peephole:
        while not (tmp_path / "started").exists():
            time.sleep(0.01)
        time.sleep(0.2)
        peephole.send_signal(signal.SIGINT)
        peephole.wait(30)
        assert peephole.stderr is not None
        assert peephole.returncode == 130, peephole.stderr.read()
    assert (tmp_path / "capture" / "meta.json").exists()
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_both_engines_see_the_same_calls(need_ptrace: None, record: Any, tmp_path: Path) -> None:
    by_engine = []
    for number, engine in enumerate((ebpf, ptrace)):
        work = tmp_path / f"work{number}"
        work.mkdir()
        with (tmp_path / "out").open("wb") as stdout:
            capture, code = engine.record(
                Launch([program("calls_made"), str(work)], stdout=stdout), tmp_path / engine.NAME
            )
        assert code == 0
        calls = rows(capture)
        assert all(
            capture.meta.started_ns <= call["exit_ns"] <= capture.meta.ended_ns for call in calls if call["exit_ns"]
        )
        inside = between_marks(calls)
        pids = {"fork", "wait4"}
        by_engine.append([(call["name"], call["ret"] if call["name"] not in pids else None) for call in inside])
    assert by_engine[0] == by_engine[1]

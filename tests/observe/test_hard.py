"""What is hard to record: sleeps, sockets, io_uring, threads, numbers used again, what outlives or runs already."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from recording import program, rows

from peephole.errors import EngineError, UsageError
from peephole.observe import ebpf
from peephole.observe.capture import open_capture
from peephole.observe.engines import join
from peephole.observe.launch import Launch

pytestmark = pytest.mark.root

MS = 1_000_000
SLEPT = 50 * MS  # of the 60 that calls_hard asks for; clocks are never early, but the test need not know


def named(capture: Any, *names: str) -> list[dict[str, Any]]:
    return [call for call in rows(capture) if call["name"] in names]


def test_time_asleep_belongs_to_the_call_that_slept(record: Any) -> None:
    capture, code = record(program("calls_hard"), "sleep")
    assert code == 0
    root = rows(capture)[0]["pid"]
    mine = [call for call in rows(capture) if call["pid"] == root]
    slept = next(call for call in mine if call["name"] in ("nanosleep", "clock_nanosleep"))
    read = next(call for call in mine if call["name"] == "read" and call["ftype"] == 1)
    for call in (slept, read):
        assert call["blocked_ns"] >= SLEPT and call["switches"] >= 1, call
        assert call["enter_ns"] is None
    assert [(c["blocked_ns"], c["switches"]) for c in mine if c["name"] == "getppid"] == [(0, 0)] * 2


def test_the_full_engine_knows_when_each_call_was_entered(need_ebpf: None, tmp_path: Path) -> None:
    capture, code = ebpf.EBPF_FULL.record(Launch([program("calls_hard"), "sleep"]), tmp_path / "capture")
    assert code == 0 and capture.meta.engine == "ebpf-full"
    calls = rows(capture)
    # the first call of the tree was entered before anybody looked; exec and exit have no exit of their own
    known = [c for c in calls[1:] if c["name"] not in ("exit_group", "execve", "rt_sigreturn")]
    assert all(c["enter_ns"] is not None and c["enter_ns"] <= c["exit_ns"] for c in known)
    for tid in {c["tid"] for c in known}:
        mine = [c for c in known if c["tid"] == tid]
        assert all(a["exit_ns"] <= b["enter_ns"] for a, b in itertools.pairwise(mine))
    slept = next(c for c in known if "nanosleep" in c["name"])
    assert slept["exit_ns"] - slept["enter_ns"] >= slept["blocked_ns"] >= SLEPT


def test_socket_addresses_are_those_that_the_program_used(record: Any, tmp_path: Path) -> None:
    capture, code = record(program("calls_hard"), "sockets", str(tmp_path))
    assert code == 0
    printed = [tuple(line.split(b"\t")) for line in (tmp_path / "stdout").read_bytes().splitlines()]
    names = {name.decode() for name, _ in printed}
    found = [(c["name"].encode(), c["address"]) for c in rows(capture) if c["name"] in names and c["address"]]
    assert found == printed and len(found) >= 8


def test_io_uring_operations_are_seen_without_a_call(record: Any, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345678")
    capture, code = record(program("calls_hard"), "uring", str(file))
    if code == 77:
        pytest.skip("io_uring is switched off here")
    assert code == 0
    lines = [line.split("\t") for line in (tmp_path / "stdout").read_text().splitlines()]
    fd = int(lines.pop()[1])
    operations = list(__import__("pyarrow.parquet").parquet.read_table(capture.extra("operations.parquet")).to_pylist())
    assert sorted((o["user_data"], o["ret"]) for o in operations) == sorted((int(a), int(b)) for a, b in lines)
    assert {o["user_data"]: (o["name"], o["fd"]) for o in operations} == {
        11: ("NOP", operations[0]["fd"]),
        22: ("READ", fd),
        33: ("READ", -1),
    }
    assert all(o["submit_ns"] <= o["complete_ns"] for o in operations)


def test_five_hundred_threads_at_once(record: Any) -> None:
    capture, code = record(program("calls_hard"), "threads", "500")
    assert code == 0 and capture.meta.lost == 0
    calls = [c for c in named(capture, "access", "faccessat", "faccessat2") if c["path"].startswith(b"thread ")]
    assert sorted(c["path"] for c in calls) == sorted(b"thread %d" % i for i in range(500))
    assert len({c["tid"] for c in calls}) == 500 and len({(c["pid"], c["image"]) for c in calls}) == 1


def test_exec_by_a_thread_that_is_not_the_leader_keeps_the_process(record: Any) -> None:
    capture, code = record(program("calls_hard"), "exec")
    assert code == 0
    processes = rows(capture, "processes")
    first, second = processes[0], next(p for p in processes if p["argv"][1:] == [b"sleep"] and p["start_ns"])
    assert first["pid"] == second["pid"] and first["end_ns"] == second["start_ns"]
    before = next(c for c in rows(capture) if c["path"] == b"before exec")
    assert before["tid"] != before["pid"] == first["pid"] and before["image"] == first["image"]
    after = next(c for c in rows(capture) if "nanosleep" in c["name"])
    assert after["image"] == second["image"] and after["tid"] == after["pid"]


def test_a_child_that_outlives_the_command_is_followed_to_its_end(record: Any) -> None:
    capture, code = record(program("calls_hard"), "outlive")
    assert code == 5
    assert any(c["path"] == b"left behind" for c in rows(capture)) and capture.meta.left == 0
    assert all(p["end_ns"] for p in rows(capture, "processes"))


def test_what_outlives_even_the_grace_is_left_alone_and_counted(need_ebpf: None, tmp_path: Path) -> None:
    launch = Launch(["sh", "-c", f"sleep 30 & echo $! >{tmp_path}/pid"], grace=0.2)
    capture, _ = ebpf.record(launch, tmp_path / "capture")
    pid = int((tmp_path / "pid").read_text())
    assert capture.meta.left == 1 and Path(f"/proc/{pid}").exists()
    os.kill(pid, signal.SIGKILL)


def test_a_process_killed_inside_a_call_ends_by_the_signal(record: Any) -> None:
    capture, code = record(program("calls_hard"), "killed")
    assert code == 0
    child = rows(capture, "processes")[1]
    assert child["exit_code"] == 9
    assert not [c for c in rows(capture) if c["pid"] == child["pid"] and c["name"] == "exit_group"]


def test_processes_of_the_same_number_are_told_apart(record: Any) -> None:
    capture, code = record(program("calls_hard"), "reuse", "20")
    if code == 77:
        pytest.skip("the next pid can't be chosen here")
    calls = [c for c in rows(capture) if (c["path"] or b"").startswith(b"process ")]
    pid = Counter(c["pid"] for c in calls).most_common(1)[0][0]
    same = [c for c in calls if c["pid"] == pid]
    assert len(same) >= 20 and len({c["image"] for c in same}) == len(same)


@pytest.mark.long
def test_ten_thousand_short_processes_are_all_seen(record: Any) -> None:
    capture, code = record(program("calls_many"), "processes", "10000")
    assert code == 0 and capture.meta.lost == 0
    assert len(rows(capture, "processes")) == 10001


# -- what runs already ---------------------------------------------------------------------------------------------


@contextmanager
def serving(*prefix: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([*prefix, program("calls_hard"), "serve"], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None and server.stdout.readline() == b"ready\n"
        try:
            yield server
        finally:
            server.kill()


def heartbeats(capture: Any) -> list[int]:
    return [c["a1"] for c in rows(capture) if c["name"] == "getpriority" and c["a0"] == 88]


@pytest.mark.parametrize("engine", ["ebpf", "ebpf-full", "ptrace"])
def test_a_running_process_is_joined_and_goes_on_when_it_is_left(
    engine: str, need_ebpf: None, need_ptrace: None, tmp_path: Path
) -> None:
    with serving() as server:
        capture = join(tmp_path / "capture", pid=server.pid, engine=engine, timeout=1.0)
        assert server.poll() is None
    beats = heartbeats(capture)
    assert len(beats) > 2 and beats == list(range(beats[0], beats[0] + len(beats)))
    assert open_capture(capture.folder).meta.joined == f"pid {server.pid}"
    if engine != "ptrace":
        (row,) = rows(capture, "processes")
        assert row["pid"] == server.pid and row["start_ns"] is None and row["end_ns"] is None
        assert row["argv"] == [os.fsencode(program("calls_hard")), b"serve"]
        assert row["exe"] == os.fsencode(os.path.realpath(program("calls_hard")))


def test_joining_a_process_joins_its_descendants_and_ends_with_them(need_ebpf: None, tmp_path: Path) -> None:
    script = f"{program('calls_hard')} serve & sleep 1.5; kill $!"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None and shell.stdout.readline() == b"ready\n"
        capture = join(tmp_path / "capture", pid=shell.pid, engine="ebpf", timeout=20)
    assert heartbeats(capture)
    assert len(rows(capture, "processes")) >= 3 and capture.meta.left == 0


def test_a_cgroup_is_joined_with_what_moves_into_it(need_ebpf: None, tmp_path: Path) -> None:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    point = next((words[1] for words in mounts if words[2] == "cgroup2"), "/sys/fs/cgroup")
    place = Path(point) / f"peephole-test-{os.getpid()}"
    try:
        place.mkdir()
    except OSError as e:
        pytest.skip(f"no cgroup can be made here: {e}")
    try:
        (place / "below").mkdir()
        with serving() as first, serving() as second, serving() as stranger:
            (place / "below" / "cgroup.procs").write_text(str(first.pid))
            words = [sys.executable, "-m", "peephole", "observe", "-o", str(tmp_path / "c"), "--cgroup", str(place)]
            with subprocess.Popen(words, stderr=subprocess.PIPE) as peephole:
                time.sleep(1.5)
                (place / "cgroup.procs").write_text(str(second.pid))
                time.sleep(1.0)
                peephole.send_signal(signal.SIGTERM)
                assert peephole.stderr is not None
                assert peephole.wait(30) == 0, peephole.stderr.read()
        capture = open_capture(tmp_path / "c")
        assert {c["pid"] for c in rows(capture)} == {first.pid, second.pid}
        assert stranger.pid not in {p["pid"] for p in rows(capture, "processes")}
    finally:
        time.sleep(0.1)  # the dead leave late
        for folder in (place / "below", place):
            if folder.exists():
                folder.rmdir()


def test_what_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such process"):
        join(tmp_path / "capture", pid=2**22 - 1)
    with pytest.raises(UsageError, match="not a cgroup"):
        join(tmp_path / "capture", cgroup=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_process_in_a_pid_namespace_has_both_numbers(record: Any) -> None:
    capture, code = record("unshare", "--pid", "--fork", "sh", "-c", "echo $$; exit 3")
    if code == 1:
        pytest.skip("no pid namespace can be made here")
    inside = [p for p in rows(capture, "processes") if p["argv"][0] == b"sh"]
    assert code == 3 and inside[-1]["ns_pid"] == 1 != inside[-1]["pid"]
    outside = rows(capture, "processes")[0]
    assert outside["ns_pid"] == outside["pid"] and outside["pid_ns"] != inside[-1]["pid_ns"]


# -- misfortunes ---------------------------------------------------------------------------------------------------


def test_a_recorder_that_is_killed_leaves_what_it_had_until_then(need_ebpf: None, tmp_path: Path) -> None:
    out = tmp_path / "capture"
    with subprocess.Popen(
        [sys.executable, "-m", "peephole", "observe", "-o", str(out), "--", program("calls_hard"), "serve"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as peephole:
        assert peephole.stdout is not None and peephole.stdout.readline() == "ready\n"
        time.sleep(0.5)
        recorder, server = _recorder_below(peephole.pid)
        os.kill(recorder, signal.SIGKILL)
        assert peephole.stderr is not None
        os.kill(server, 0)
        time.sleep(0.1)
        os.kill(server, signal.SIGKILL)  # it holds our end of the pipe
        said = peephole.stderr.read()
        assert peephole.wait(30) == 1
    assert said == f"peephole: the recorder was killed by signal 9; what it had until then is in {out}\n"
    capture = open_capture(out)
    assert capture.meta.incomplete and len(heartbeats(capture)) > 10


def _recorder_below(pid: int) -> tuple[int, int]:
    recorder = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    return recorder, int(Path(f"/proc/{recorder}/task/{recorder}/children").read_text().split()[0])


def test_two_recorders_beside_each_other_each_see_their_own(need_ebpf: None, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "peephole", "observe", "--engine", "ebpf"]
    both = [
        subprocess.Popen([*words, "-o", str(tmp_path / str(i)), "--", program("calls_many"), "calls", str(20_000 + i)])
        for i in range(2)
    ]
    assert [peephole.wait(60) for peephole in both] == [0, 0]
    for i in range(2):
        assert len(named(open_capture(tmp_path / str(i)), "getppid")) == 20_000 + i


def test_stacks_are_not_what_ptrace_has(tmp_path: Path, need_ptrace: None) -> None:
    from peephole.observe.engines import observe

    with pytest.raises(EngineError, match="only --engine=ebpf takes stacks"):
        observe(["true"], tmp_path / "capture", "ptrace", stacks=True)

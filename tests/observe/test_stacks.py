"""Who made the calls, and where CPU time went."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from recording import program, rows

from peephole.observe import ebpf
from peephole.observe.launch import Launch
from peephole.report.exports import folded, slices

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def sampled(need_ebpf: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("stacks") / "capture"
    capture, code = ebpf.record(Launch([program("calls_stacks"), "5000"], stacks=True), place)
    assert code == 0
    return capture


def chains(capture: Any) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in pq.read_table(capture.extra("stacks.parquet")).to_pylist():
        found.setdefault(row["stack"], []).append(row)
    return found


def test_the_callers_of_a_call_are_named_with_library_and_line(sampled: Any) -> None:
    known = chains(sampled)
    calls = [c for c in rows(sampled) if c["name"] == "getppid"]
    with_stack = [c for c in calls if c["stack"]]
    assert len(calls) == 5000 and len(with_stack) >= 16 + 5000 // 64 - 2
    for call in with_stack:
        frames = known[call["stack"]]
        assert [f["depth"] for f in frames] == list(range(len(frames)))
        assert b"libc" in frames[0]["library"] and frames[0]["ip"] == call["ip"]
        assert [f["function"] for f in frames[1:5]] == ["inner", "middle", "outer", "main"]
    inner = known[with_stack[0]["stack"]][1]
    source = Path(__file__).parents[2] / "core" / "test" / "calls_stacks.c"
    said = source.read_text().splitlines()[inner["line"] - 1]
    assert inner["file"].endswith("calls_stacks.c") and "syscall(SYS_getppid)" in said


def test_ticks_of_the_cpu_clock_find_the_function_that_computes(sampled: Any) -> None:
    known = chains(sampled)
    ticks = pq.read_table(sampled.extra("samples.parquet")).to_pylist()
    # 330 ms at 499 Hz; a busy machine ticks less often, never more
    assert 20 <= len(ticks) <= 400 and sampled.meta.tick_ns == 2004008
    where = Counter(known[t["stack"]][0]["function"] for t in ticks if t["stack"] and not t["in_kernel"])
    assert where.most_common(1)[0][0] == "burns"
    assert all(sampled.meta.started_ns <= t["ns"] <= sampled.meta.ended_ns for t in ticks)


def test_a_flame_graph_has_the_functions_by_their_time(sampled: Any) -> None:
    out = io.BytesIO()
    folded.write(sampled, out)
    weights = {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in out.getvalue().decode().splitlines()}
    heaviest = max(weights, key=lambda stack: weights[stack])
    assert heaviest.startswith("calls_stacks;") and heaviest.endswith(";main;burns")
    assert slices.weighted(sampled).unit == "nanoseconds"


def test_most_stacks_of_a_real_program_reach_beyond_libc(need_ebpf: None, tmp_path: Path) -> None:
    words = ["tar", "cf", str(tmp_path / "tar"), "/usr/include/linux"]
    launch = Launch(words, stacks=True, stderr=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"})
    capture, code = ebpf.record(launch, tmp_path / "capture")
    assert code == 0
    known = chains(capture)
    late = [c for c in rows(capture) if c["stack"]][20:]  # the loader's own calls come first
    beyond = [any(b"libc" not in f["library"] for f in known[c["stack"]]) for c in late]
    # 512 bytes end inside of some of libc's larger frames (locales, name services): those of the start
    assert len(late) > 50 and sum(beyond) >= 0.85 * len(beyond), (len(late), sum(beyond))


def test_the_bytes_of_a_stack_are_nowhere_on_the_disk(need_ebpf: None, tmp_path: Path) -> None:
    launch = Launch([program("calls_stacks"), "10", "a secret on the stack"], stacks=True)
    capture, _ = ebpf.record(launch, tmp_path / "capture")
    import pyarrow as pa

    for name in ("calls.parquet", "stacks.parquet", "samples.parquet"):
        table = pq.read_table(capture.folder / name)
        for column in table.columns:
            if pa.types.is_binary(column.type):
                assert not any(b"a secret" in value for value in column.to_pylist() if value)


def test_without_the_option_nobody_is_sampled(record: Any) -> None:
    capture, _ = record(program("calls_stacks"), "100")
    assert capture.extra("stacks.parquet") is None and capture.extra("samples.parquet") is None
    assert all(c["stack"] is None for c in rows(capture))


def test_processes_that_are_gone_at_once_have_stacks_too(need_ebpf: None, tmp_path: Path) -> None:
    launch = Launch(["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do (exit 0); /bin/true; done"], stacks=True)
    capture, code = ebpf.record(launch, tmp_path / "capture")
    calls = rows(capture)
    assert code == 0 and len({c["pid"] for c in calls}) >= 11
    sampled = [c for c in calls if c["stack"]]
    # all but the few that come before a new image has mapped anything, or from what is in no file
    by_pid = Counter(c["pid"] for c in sampled)
    assert all(by_pid[c["pid"]] for c in calls if c["name"] == "set_robust_list")
    assert capture.meta.machine["stacks_unknown"] <= 0.05 * len(sampled)


def test_copies_of_a_program_share_what_is_known_and_keep_their_names(need_ebpf: None, tmp_path: Path) -> None:
    copies = [tmp_path / name for name in ("one", "two")]
    for copy in copies:
        shutil.copy(program("calls_stacks"), copy)
    launch = Launch(["sh", "-c", " && ".join(f"{copy} 10" for copy in copies)], stacks=True)
    capture, code = ebpf.record(launch, tmp_path / "capture")
    known = chains(capture)
    found: dict[bytes, list[list[str]]] = {os.fsencode(copy): [] for copy in copies}
    for call in rows(capture):
        frames = known[call["stack"]][1:5] if call["name"] == "getppid" and call["stack"] else []
        libraries = {f["library"] for f in frames}
        if libraries & found.keys():  # the shell asks for its parent, too
            (library,) = libraries
            found[library].append([f["function"] for f in frames])
    assert code == 0
    for functions in found.values():
        assert len(functions) == 10 and all(f == ["inner", "middle", "outer", "main"] for f in functions)


CUT_SHORT = """\
import mmap, os, sys, time

def maps(path):
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC)

def calls():
    for _ in range(10):
        for _ in range(128):
            os.getppid()
        time.sleep(0.05)

one = maps(sys.argv[1])
calls()
os.truncate(sys.argv[1], 0)
other = maps(sys.argv[2])
calls()
"""


def test_a_mapped_program_that_is_cut_short_meanwhile_does_not_end_the_recording(
    need_ebpf: None, tmp_path: Path
) -> None:
    copies = [shutil.copy(program(name), tmp_path) for name in ("calls_stacks", "calls_many")]
    launch = Launch([sys.executable, "-c", CUT_SHORT, *map(str, copies)], stacks=True)
    capture, code = ebpf.record(launch, tmp_path / "capture")
    assert code == 0 and capture.meta.lost == 0 and capture.meta.incomplete is None
    assert sum(c["name"] == "getppid" for c in rows(capture)) == 2 * 10 * 128
    assert not Path(copies[0]).stat().st_size


def test_a_long_path_and_a_stack_do_not_get_into_each_others_way(need_ebpf: None, tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import os\nfor _ in range(16): os.access('y' * 4090, 0)"]
    capture, code = ebpf.record(Launch(words, stacks=True), tmp_path / "capture")
    known = chains(capture)
    asked = [c for c in rows(capture) if c["name"] in ("access", "faccessat", "faccessat2") and c["path"][:1] == b"y"]
    assert code == 0 and len(asked) == 16 and all(c["path"] == b"y" * 4090 for c in asked)
    assert all(c["stack"] and known[c["stack"]][0]["ip"] == c["ip"] for c in asked)

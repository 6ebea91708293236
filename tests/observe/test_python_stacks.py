"""Calls of a Python program are blamed on its own functions."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from recording import rows

from peephole.diagnose.layers import chains
from peephole.diagnose.tables import DUCKDB, tables_of
from peephole.observe import ebpf
from peephole.observe.launch import Launch

pytestmark = pytest.mark.root

PROGRAM = """\
import os, threading

def shouts(fd):
    for _ in range(700):
        os.write(fd, b"loud")

def whispers(fd):
    for _ in range(700):
        os.write(fd, b"s")

class Both:
    def run(self, fd):
        shouts(fd)
        whispers(fd)

def in_a_thread(fd):
    for _ in range(700):
        os.write(fd, b"th")

def in_a_child(fd):
    for _ in range(700):
        os.write(fd, b"ch3")

fd = os.open("/dev/null", os.O_WRONLY)
other = threading.Thread(target=in_a_thread, args=(fd,))
other.start()
Both().run(fd)
other.join()
child = os.fork()
if not child:
    in_a_child(fd)
    os._exit(0)
os.waitpid(child, 0)
"""
#: by the size of what each writes
WRITERS = {1: "whispers", 2: "in_a_thread", 3: "in_a_child", 4: "shouts"}


@pytest.fixture(scope="module")
def written(need_ebpf: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    place = tmp_path_factory.mktemp("python")
    script = place / "writes.py"
    script.write_text(PROGRAM)
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the frames of CPython 3.11 are known, and this is another")
    capture, code = ebpf.record(Launch([sys.executable, str(script)], stacks=True), place / "capture")
    assert code == 0
    return script, capture


def test_each_write_is_blamed_on_the_function_that_made_it(written: tuple[Path, Any]) -> None:
    script, capture = written
    frames = pq.read_table(capture.extra("stacks.parquet")).to_pylist()
    python: dict[int, list[dict[str, Any]]] = {}
    for row in frames:
        if row["kind"] == "python":
            python.setdefault(row["stack"], []).append(row)
    source = script.read_text().splitlines()
    found: Counter[str] = Counter()
    for call in rows(capture):
        if call["name"] != "write" or call["ret"] not in WRITERS or not call["stack"]:
            continue
        inner, *callers = python[call["stack"]]
        assert (inner["function"], inner["file"]) == (WRITERS[call["ret"]], str(script))
        assert source[inner["line"] - 1] == f"def {inner['function']}(fd):"
        assert inner["ip"] is None and inner["library"] is None and inner["offset"] is None
        names = [frame["function"] for frame in callers]
        assert names[-1] == ("Thread._bootstrap" if call["ret"] == 2 else "<module>")
        if call["ret"] in (1, 4):
            assert names == ["Both.run", "<module>"]
        found[inner["function"]] += 1
    assert set(found) == set(WRITERS.values()) and min(found.values()) >= 700 // 64 - 1, found


def test_pythons_frames_follow_those_below_the_interpreter(written: tuple[Path, Any]) -> None:
    _, capture = written
    by_stack: dict[int, list[dict[str, Any]]] = {}
    for row in pq.read_table(capture.extra("stacks.parquet")).to_pylist():
        by_stack.setdefault(row["stack"], []).append(row)
    mixed = [s for s in by_stack.values() if {"native", "python"} == {f["kind"] for f in s}]
    assert mixed
    for stack in mixed:
        assert [f["depth"] for f in stack] == list(range(len(stack)))
        kinds = [f["kind"] for f in stack]
        assert kinds == sorted(kinds)  # native, then python
        assert not any((f["function"] or "").startswith("_PyEval_EvalFrameDefault") for f in stack)


def test_the_layer_of_a_finding_is_the_function_of_the_program(written: tuple[Path, Any]) -> None:
    _, capture = written
    with tables_of(capture, DUCKDB) as tables:
        found = {name: chain for (_, name), chain in chains(tables).items()}
    assert any(link.startswith("writes.py: ") for link in found["write"]), found["write"]
    assert found["write"][-1].endswith(": write")

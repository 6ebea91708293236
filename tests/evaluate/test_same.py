"""Equality of outputs, and the first place where it ends."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from peephole.evaluate.run import Run
from peephole.evaluate.same import Outcome, differences, first_difference, outcome
from peephole.evaluate.workload import Same, Workload


def seen(tmp_path: Path, name: str, *same: Same, exit_code: int = 0) -> Outcome:
    """The outcome of a run whose streams are whatever lies in its folder."""
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    for stream in ("stdout", "stderr"):
        (folder / stream).touch()
    return outcome(job(tmp_path, *same), Run(folder, {}, exit_code))


def job(tmp_path: Path, *same: Same) -> Workload:
    return Workload(("true",), tmp_path, dict(os.environ), same=same)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    (top / "sub").mkdir(parents=True)
    (top / "sub" / "a").write_bytes(b"hello world")
    (top / "b").write_bytes(b"x" * 3_000_000)
    (top / "link").symlink_to("sub/a")
    return top


def test_one_differing_byte_is_named(tmp_path: Path) -> None:
    data = bytearray(random.Random(5).randbytes(3 << 20))
    (tmp_path / "a").write_bytes(data)
    data[2_345_678] ^= 1
    (tmp_path / "b").write_bytes(data)
    assert first_difference(tmp_path / "a", tmp_path / "b") == 2_345_678
    assert first_difference(tmp_path / "a", tmp_path / "a") is None


def test_a_shorter_file_differs_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"abcd")
    assert first_difference(tmp_path / "a", tmp_path / "b") == 3
    assert first_difference(tmp_path / "b", tmp_path / "a") == 3


def test_exit_codes_and_streams_are_compared(tmp_path: Path) -> None:
    same = (Same("exit"), Same("stdout"), Same("stderr"))
    a, b = seen(tmp_path, "A", *same), seen(tmp_path, "B", *same, exit_code=-9)
    (tmp_path / "B" / "stderr").write_text("oops")
    found = differences(job(tmp_path, *same), a, b)
    assert [d.what for d in found] == ["exit", "stderr"]
    assert "code 0 before, signal 9 after" in found[0].where and found[1].offset == 0


def test_equal_trees_have_no_difference(tmp_path: Path, tree: Path) -> None:
    same = Same("files", str(tree))
    assert differences(job(tmp_path, same), seen(tmp_path, "A", same), seen(tmp_path, "B", same)) == []


def test_a_byte_in_a_tree_is_named_with_its_file(tmp_path: Path, tree: Path) -> None:
    same = Same("files", str(tree))
    a = seen(tmp_path, "A", same)
    with (tree / "b").open("r+b") as f:
        f.seek(2_999_999)
        f.write(b"y")
    (found,) = differences(job(tmp_path, same), a, seen(tmp_path, "B", same))
    assert found.where == f"{tree}/b" and found.offset == 2_999_999


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: (t / "new").touch(), "new exists only after"),
        (lambda t: (t / "b").unlink(), "b exists only before"),
        (lambda t: (t / "b").chmod(0o600), "b: mode 644 before, 600 after"),
        (lambda t: ((t / "link").unlink(), (t / "link").symlink_to("b")), "link"),
        (lambda t: ((t / "b").unlink(), (t / "b").mkdir()), "b is a file before, a folder after"),
    ],
)
def test_names_modes_links_and_kinds_are_compared(tmp_path: Path, tree: Path, change, said: str) -> None:  # type: ignore[no-untyped-def]
    same = Same("files", str(tree))
    (tree / "b").chmod(0o644)
    a = seen(tmp_path, "A", same)
    change(tree)
    (found,) = differences(job(tmp_path, same), a, seen(tmp_path, "B", same))
    assert said in found.where


def test_a_command_can_judge(tmp_path: Path) -> None:
    same = Same("exec", ("cat", "state"))
    (tmp_path / "state").write_text("one")
    a = seen(tmp_path, "A", same)
    (tmp_path / "state").write_text("onE")
    (found,) = differences(job(tmp_path, same), a, seen(tmp_path, "B", same))
    assert found.what == "exec:cat state" and found.offset == 2
    (tmp_path / "state").unlink()
    (found,) = differences(job(tmp_path, same), a, seen(tmp_path, "B", same))
    assert "exit code 0 before, 1 after" in found.where

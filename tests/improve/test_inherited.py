"""Descriptors that a program is started with: handled when no other process uses them, left alone otherwise."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

#: dash keeps a redirected file open in itself while the command runs, bash does not
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
LINES = "import sys\nfor i in range(2000): print(i, flush=True)"
EXPECTED = "".join(f"{i}\n" for i in range(2000))


def _improve(folder: Path, script: str, *, shell: str = "bash") -> int:
    """Run a shell script in which $IMPROVE stands for improving a command; the hits of coalesce_writes."""
    stats = folder / "stats.json"
    words = [sys.executable, "-m", "peephole", "improve", "--rules", "coalesce_writes", "--allow", "all"]
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONUNBUFFERED",)}
    env |= {"IMPROVE": " ".join([*words, "--stats", str(stats), "--"]), "LINES_PY": LINES, "PY": sys.executable}
    subprocess.run([shell, "-c", script], cwd=folder, env=env, check=True, timeout=120)
    hits: int = json.loads(stats.read_text())["rules"]["coalesce_writes"]["hits"]
    return hits


def test_output_to_a_file_is_gathered(tmp_path: Path) -> None:
    assert _improve(tmp_path, '$IMPROVE $PY -c "$LINES_PY" > out') >= 2000
    assert (tmp_path / "out").read_text() == EXPECTED


def test_output_is_appended(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("before\n")
    assert _improve(tmp_path, '$IMPROVE $PY -c "$LINES_PY" >> out') >= 2000
    assert (tmp_path / "out").read_text() == "before\n" + EXPECTED


def test_a_file_that_others_write_too_is_left_alone(tmp_path: Path) -> None:
    hits = _improve(tmp_path, '{ $IMPROVE $PY -c "$LINES_PY"; echo behind; } > out')
    assert hits == 0
    assert (tmp_path / "out").read_text() == EXPECTED + "behind\n"


def test_a_file_written_to_already_is_left_alone(tmp_path: Path) -> None:
    script = 'exec > out; echo first; exec $IMPROVE $PY -c "$LINES_PY"'
    assert _improve(tmp_path, script) == 0
    assert (tmp_path / "out").read_text() == "first\n" + EXPECTED


def test_both_streams_in_one_file_keep_their_order(tmp_path: Path) -> None:
    code = "import os\nfor i in range(500):\n os.write(1, b'out %d\\n' % i); os.write(2, b'err %d\\n' % i)"
    (tmp_path / "code.py").write_text(code)
    assert _improve(tmp_path, "$IMPROVE $PY code.py > out 2>&1") >= 1000
    assert (tmp_path / "out").read_text() == "".join(f"out {i}\nerr {i}\n" for i in range(500))


def test_an_improved_shell_hands_its_redirections_on(tmp_path: Path) -> None:
    (tmp_path / "job").write_text('$PY -c "$LINES_PY" > out\ncat out > copy\necho end >> out\n')
    assert _improve(tmp_path, "$IMPROVE bash job") >= 2000
    assert (tmp_path / "copy").read_text() == EXPECTED
    assert (tmp_path / "out").read_text() == EXPECTED + "end\n"


def test_a_redirection_of_two_programs_is_not_handed_on(tmp_path: Path) -> None:
    (tmp_path / "job").write_text('{ $PY -c "$LINES_PY"; /bin/echo a; /bin/echo b; } > out\n')
    _improve(tmp_path, "$IMPROVE bash job")
    assert (tmp_path / "out").read_text() == EXPECTED + "a\nb\n"


def test_a_shell_that_keeps_the_file_open_is_seen(tmp_path: Path) -> None:
    assert _improve(tmp_path, '$IMPROVE $PY -c "$LINES_PY" > out; true', shell="dash") == 0
    assert (tmp_path / "out").read_text() == EXPECTED


def test_a_child_of_the_program_writes_behind_it(tmp_path: Path) -> None:
    code = "import os, subprocess\nos.write(1, b'a\\n')\nsubprocess.run(['/bin/echo', 'b'])\nos.write(1, b'c\\n')"
    (tmp_path / "code.py").write_text(code)
    _improve(tmp_path, "$IMPROVE $PY code.py > out")
    assert (tmp_path / "out").read_text() == "a\nb\nc\n"

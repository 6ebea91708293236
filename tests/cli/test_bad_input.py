"""Bad input: one clear line and the right exit code, never a traceback, nothing that a terminal acts on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PEEPHOLE = [sys.executable, "-m", "peephole"]
#: a name that is not UTF-8, with a line break and a terminal's escape
HOSTILE = os.fsdecode(b"x\n\x1b]0;t\x07\xff")


def peephole(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"XDG_STATE_HOME": str(cwd / "state")}
    return subprocess.run(
        [*PEEPHOLE, *words], cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100
    )


def log(folder: Path) -> Path:
    """Text of strace with one call in it."""
    path = folder / "log"
    path.write_text("getpid() = 1\n")
    return path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tune", "--nosuch", "--", "true"], "--nosuch"),
        (["evaluate", "--rules", "off", "--nosuch", "--", "true"], "--nosuch"),
        (["attach", "1", "--rules", "none", "--allow", "durabilty"], "durabilty"),
        (["prove", "--all", "memo_identity"], "--all"),
        (["detach", "x"], "not a valid integer"),
        (["export", "capture"], "Missing option '--to'. Choose from: perfetto, chrome"),
        (["nosuch"], "nosuch"),
    ],
)
def test_wrong_words_are_exit_code_2(tmp_path: Path, words: list[str], said: str) -> None:
    done = peephole(*words, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and not done.stdout, done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nosuch", "--", "true"], "--nosuch"),
        (["--rules", "none", "--engine", "magic", "--", "true"], "magic"),
        (["--rules", "none"], "no command"),
        (["--", "true"], "--rules"),
        (["--rules", "none", "--allow", "durabilty", "--", "true"], "durabilty"),
        (["--rules", "nosuch", "--", "true"], "nosuch"),
    ],
)
def test_improve_ends_with_125_for_wrong_words_too(tmp_path: Path, words: list[str], said: str) -> None:
    done = peephole("improve", *words, cwd=tmp_path)
    assert done.returncode == 125 and said in done.stderr and not done.stdout, done.stderr


def test_a_commands_own_options_need_no_dashes_before_it(tmp_path: Path) -> None:
    done = peephole("evaluate", "--rules", "off", "-n", "1", "--json", "sh", "-c", "exit 0", cwd=tmp_path)
    assert json.loads(done.stdout)["command"] == ["sh", "-c", "exit 0"], done.stderr


def test_names_that_are_not_utf8_are_refused_before_anything_runs(tmp_path: Path) -> None:
    for words in (
        ["evaluate", "--rules", "off", "-o", HOSTILE, "--", "touch", "ran"],
        ["observe", "-o", HOSTILE, "--", "touch", "ran"],
        ["import", str(log(tmp_path)), "-o", HOSTILE],
        ["diagnose", HOSTILE],
    ):
        done = peephole(*words, cwd=tmp_path)
        assert done.returncode in (1, 2) and "not UTF-8" in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1 and "\x1b" not in done.stderr
    assert not (tmp_path / "ran").exists()


def test_hostile_words_do_not_reach_the_terminal(tmp_path: Path) -> None:
    done = peephole("evaluate", "--rules", "off", "-n", "1", "--", "echo", HOSTILE, cwd=tmp_path)
    assert "\x1b" not in done.stdout + done.stderr and "will be run" in done.stderr.splitlines()[0]


def test_a_result_is_private_and_with_fields_of_other_types_damaged(tmp_path: Path) -> None:
    assert peephole("evaluate", "--rules", "off", "-n", "1", "-o", "out", "--", "true", cwd=tmp_path).returncode == 0
    assert {(tmp_path / "out" / n).stat().st_mode & 0o777 for n in ("result.json", "report.html")} == {0o600}
    whole = json.loads((tmp_path / "out" / "result.json").read_text())
    changes: dict[str, Any] = {"calls": [1], "ratios": 5, "conditions": None, "self_cost": {"a": 1}, "findings": "x"}
    for name, value in changes.items():
        (tmp_path / "bad.json").write_text(json.dumps(whole | {name: value}))
        done = peephole("report", "bad.json", cwd=tmp_path)
        assert done.returncode == 1 and "bad.json: damaged" in done.stderr, (name, done.stderr)
        assert len(done.stderr.splitlines()) == 1


def test_a_place_that_can_not_be_written_is_named_as_it_was_given(tmp_path: Path) -> None:
    assert peephole("import", str(log(tmp_path)), "-o", "capture", cwd=tmp_path).returncode == 0
    for words in (["plan", "capture"], ["export", "capture", "--to", "strace"], ["report", "capture"]):
        for place, why in (("nosuch/file", "No such file"), ("log/file", "Not a directory")):
            done = peephole(*words, "-o", place, cwd=tmp_path)
            assert done.returncode == 1 and f"peephole: {place}: {why}" in done.stderr, done.stderr
            assert len(done.stderr.splitlines()) == 1


def test_what_is_no_plain_file_of_a_sensible_size_or_depth_is_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(20 << 30)
    (tmp_path / "deep").write_text("a = " + "[" * 100_000)
    (tmp_path / "long").write_text("version = " + "9" * 10_000)
    assert peephole("import", str(log(tmp_path)), "-o", "capture", cwd=tmp_path).returncode == 0
    for name in ("fifo", "huge", "deep", "long", HOSTILE):
        for words in (
            ["diagnose", "capture", "--budget", name],
            ["improve", "--plan", name, "--", "touch", "ran"],
            ["report", name],
            ["prove", f"./{name}"],
        ):
            done = peephole(*words, cwd=tmp_path)
            assert done.returncode in (1, 2, 125) and not done.stdout, (words, done.stderr)
            assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr, (words, done.stderr)
    done = peephole("import", "/dev/zero", "-o", "zeros", cwd=tmp_path)
    assert done.returncode == 1 and "16 MB" in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / "ran").exists()


def test_a_folder_of_path_that_can_not_be_looked_into_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A name that is too long: root may look into any other.
    monkeypatch.setenv("PATH", f"{tmp_path}/{'x' * 300}:{os.environ['PATH']}")
    done = peephole("improve", "--rules", "none", "--", "echo", "found", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "found\n"), done.stderr

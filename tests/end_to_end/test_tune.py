"""`peephole tune` on unmodified programs, all stages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

PEEPHOLE = [sys.executable, "-m", "peephole"]
PYTHON = "/usr/bin/python3"
PRINTS = """
import sys
with open(sys.argv[1], "w") as out:
    for i in range(int(sys.argv[2])):
        print("line", i, file=out, flush=True)
"""
pytestmark = pytest.mark.skipif(not Path(PYTHON).exists(), reason="needs the system's own Python")


def environment(cwd: Path) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONUNBUFFERED", "PYTHONSTARTUP")}
    return env | {"XDG_STATE_HOME": str(cwd / "state")}


def tune(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PEEPHOLE, "tune", *words],
        cwd=cwd,
        env=environment(cwd),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=250,
    )


def tune_json(*words: str, cwd: Path) -> dict[str, Any]:
    done = tune("--json", *words, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def prints(cwd: Path, lines: int) -> list[str]:
    (cwd / "prints.py").write_text(PRINTS)
    return [PYTHON, "prints.py", "lines.txt", str(lines)]


@pytest.mark.slow
def test_flushed_prints_gain_and_the_file_stays_the_same(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    command = prints(tmp_path, 40_000)
    command[2] = "out/lines.txt"
    same = ["--same", "exit", "--same", "files:out", "--fresh", "rm -f out/lines.txt"]
    found = tune_json("--allow", "all", *same, "-o", "result", "--", *command, cwd=tmp_path)
    assert found["verdict"] == "gain", found
    assert found["calls"]["before"]["write"] >= 40_000 and found["calls"]["after"]["write"] <= 200
    (rule,) = found["rules"]
    assert rule["name"] == "coalesce_writes" and rule["hits"] >= 40_000 and rule["trust"] == "verified"
    assert {"visibility", "survival"} <= {given["guarantee"] for given in found["given_up"]}
    for name in ("result.json", "report.html", "plan.toml", "capture/meta.json", "runs/00-A/stdout"):
        assert (tmp_path / "result" / name).exists(), name


def test_without_consent_nothing_runs_and_the_answer_says_what_it_would_buy(tmp_path: Path) -> None:
    found = tune_json("-o", "result", "--", *prints(tmp_path, 60_000), cwd=tmp_path)
    assert found["verdict"] == "no-gain" and found["pairs"] == 0
    assert found["reason"] == "nothing worth changing without consent"
    (declined,) = found["declined"]
    assert declined["rule"] == "coalesce_writes" and "visibility" in declined["missing"]
    assert "--allow" in declined["why"] and "expected to save" in declined["why"]
    assert [p.name for p in (tmp_path / "result" / "runs").iterdir()] == ["observed"]


def test_a_program_without_waste_is_run_once_and_declined(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(1 << 20) * 4)
    found = tune_json("--allow", "all", "-o", "result", "--", "gzip", "-c", "large", cwd=tmp_path)
    assert (found["verdict"], found["pairs"]) == ("no-gain", 0)
    assert found["reason"] == "nothing worth changing" and found["figures"] == {} and found["rules"] == []
    assert found["self_cost"]["runs"] == 1


def test_once_and_dry_run_run_the_command_once(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo x >>count"]
    tune_json("--once", "--", *command, cwd=tmp_path)
    tune_json("--dry-run", "--allow", "all", "--", *command, cwd=tmp_path)
    assert (tmp_path / "count").read_text() == "x\nx\n"
    found = tune_json("--dry-run", "--allow", "all", "-o", "r", "--", *prints(tmp_path, 60_000), cwd=tmp_path)
    assert found["pairs"] == 0 and "coalesce_writes" in found["reason"], found
    assert 'name = "coalesce_writes"' in (tmp_path / "r" / "plan.toml").read_text()


def test_a_failing_command_is_one_line(tmp_path: Path) -> None:
    done = tune("--", "sh", "-c", "exit 3", cwd=tmp_path)
    assert done.returncode == 1 and "ended with code 3" in done.stderr.splitlines()[-1]
    assert not done.stdout and "Traceback" not in done.stderr


def test_a_command_that_takes_too_long_is_one_line(tmp_path: Path) -> None:
    done = tune("--timeout", "0.5", "--", "sleep", "600", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr


def reached(result: Path, phase: str) -> bool:
    """Whether a tune that writes into this folder has come so far."""
    if phase in ("diagnosing", "proving"):
        return (result / "capture" / "meta.json").exists()
    return (result / "runs" / phase / "stdout").exists()


@pytest.mark.parametrize("phase", ["observed", "diagnosing", "proving", "00-B", "01-A", "observed-after"])
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, phase: str) -> None:
    command = prints(tmp_path, 200_000 if phase == "observed" else 60_000)
    (tmp_path / "run").mkdir()
    own = {"XDG_RUNTIME_DIR": str(tmp_path / "run")}
    # Without the cache of proofs there is something to be interrupted in.
    own |= {"XDG_CACHE_HOME": str(tmp_path / "cache")} if phase == "proving" else {}
    with subprocess.Popen(
        [*PEEPHOLE, "tune", "--allow", "all", "-n", "2", "-o", "result", "--", *command],
        cwd=tmp_path,
        env=environment(tmp_path) | own,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as tuning:
        deadline_s = time.monotonic() + 100
        while not reached(tmp_path / "result", phase) and tuning.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.01)
        while phase == "observed" and not (tmp_path / "lines.txt").exists() and time.monotonic() < deadline_s:
            time.sleep(0.01)
        time.sleep(2 if phase == "proving" else 0)
        # As a terminal does it: the whole group is told.
        os.killpg(tuning.pid, signal.SIGINT)
        answer, said = tuning.communicate(timeout=60)
    assert tuning.returncode == 130, answer + said
    assert b"Traceback" not in said and said.splitlines()[-1] == b"peephole: interrupted", said
    found = json.loads((tmp_path / "result" / "result.json").read_text())
    if phase == "observed-after":
        assert found["pairs"] == 2 and found["figures"]["cpu"]["ratio"], "what was measured is kept"
    else:
        assert found["verdict"] == "failed" and "interrupted" in found["reason"]
    assert not list((tmp_path / "result").glob("*.part"))
    assert not armed_folders(tmp_path / "run")
    assert not processes_in(tmp_path)


def processes_in(folder: Path) -> list[bytes]:
    """Command lines of processes that still work there."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink() == folder:
                found.append((entry / "cmdline").read_bytes())
        except OSError:
            continue
    return found


def armed_folders(base: Path) -> list[str]:
    return [str(path) for path in base.glob("peephole-*") if (path / "control").exists()]

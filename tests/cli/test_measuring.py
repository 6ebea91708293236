"""`evaluate` and what it shares with `tune`: words, exit codes, JSON, interruptions."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

PEEPHOLE = [sys.executable, "-m", "peephole"]


def peephole(
    *words: str, cwd: Path, env: dict[str, str] | None = None, text: str = ""
) -> subprocess.CompletedProcess[str]:
    base = {**os.environ, "XDG_STATE_HOME": str(cwd / "state")}
    return subprocess.run(
        [*PEEPHOLE, *words], cwd=cwd, env=base | (env or {}), input=text, capture_output=True, text=True, timeout=200
    )


def off(*words: str, cwd: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return peephole("evaluate", "--rules", "off", "-n", "2", *words, cwd=cwd, **more)


FIGURE = {"unit", "better", "before", "after", "ratio", "low", "high", "confidence", "pairs", "detectable"}
KEYS: dict[str, type] = {
    "schema": str,
    "version": int,
    "verdict": str,
    "reason": str,
    "command": list,
    "primary": str,
    "figures": dict,
    "pairs": int,
    "rules": list,
    "given_up": list,
    "differences": list,
    "not_covered": list,
    "findings": list,
    "self_cost": dict,
    "warnings": list,
    "conditions": dict,
    "paths": dict,
}


def check_result(found: dict[str, Any]) -> None:
    """The JSON contract, key by key."""
    for key, kind in KEYS.items():
        assert isinstance(found[key], kind), key
    assert found["schema"] == "peephole/result" and found["version"] == 1
    assert found["verdict"] in ("gain", "no-gain", "loss", "different", "failed")
    for name, figure in found["figures"].items():
        assert set(figure) == FIGURE, name
        assert figure["better"] in ("lower", "higher")
    for rule in found["rules"]:
        assert set(rule) == {"name", "trust", "hits", "settled", "why_not", "switched_off"}
    for given in found["given_up"]:
        assert set(given) == {"guarantee", "bound", "profile", "rules", "where"}
    for difference in found["differences"]:
        assert set(difference) == {"what", "where", "offset"}
    for missed in found["not_covered"]:
        assert {"pid", "exe", "why"} <= set(missed)
    for warning in found["warnings"]:
        assert set(warning) == {"name", "advice"}


def test_a_control_run_says_no_gain_as_json_and_only_that(tmp_path: Path) -> None:
    done = off("--json", "-o", "out", "--", "echo", "hi", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    check_result(found)
    assert found["verdict"] == "no-gain" and found["pairs"] == 2 and found["command"] == ["echo", "hi"]
    assert {"cpu", "wall", "system_cpu", "context_switches", "page_faults", "bytes_written", "flush"} <= set(
        found["figures"]
    )
    out = tmp_path / "out"
    assert json.loads((out / "result.json").read_text()) == found
    assert (out / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert (out / "runs" / "01-A" / "stdout").read_text() == "hi\n" == (out / "runs" / "02-B" / "stdout").read_text()
    assert stat.S_IMODE(out.stat().st_mode) == 0o700


def test_it_says_how_often_the_command_will_run_before_it_starts(tmp_path: Path) -> None:
    done = off("--", "true", cwd=tmp_path)
    assert "true will be run up to 6 times" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_results_go_below_the_state_folder_by_default(tmp_path: Path) -> None:
    done = off("--", "true", cwd=tmp_path)
    (folder,) = (tmp_path / "state" / "peephole").iterdir()
    assert str(folder / "report.html") in done.stdout and (folder / "result.json").exists()


def test_an_unwritable_home_is_said_and_another_folder_taken(tmp_path: Path) -> None:
    # The state folder's parent is a file: root too can't make a folder there.
    (tmp_path / "file").touch()
    env = {"XDG_STATE_HOME": str(tmp_path / "file" / "state"), "TMPDIR": str(tmp_path)}
    done = off("--", "true", cwd=tmp_path, env=env)
    assert done.returncode == 0 and "the result goes to" in done.stderr
    assert len(list(tmp_path.glob("peephole-true-*/result.json"))) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluate", "--", "true"], "give either --plan FILE or --rules"),
        (["evaluate", "--rules", "off"], "COMMAND"),
        (["evaluate", "--rules", "off", "-n", "0", "--", "true"], "-n"),
        (["evaluate", "--rules", "off", "--same", "out", "--", "true"], "--same out"),
        (["evaluate", "--rules", "off", "--ready", "tcp:1", "--", "true"], "give --drive"),
        (["evaluate", "--rules", "off", "--stdin", "nosuch", "--", "true"], "--stdin nosuch"),
        (["evaluate", "--rules", "off", "--fresh", "'", "--", "true"], "--fresh"),
        (["evaluate", "--rules", "off", "-n", "2", "--primary", "speed", "--", "true"], "--primary speed"),
        (["evaluate", "--rules", "none", "--allow", "contents", "--", "true"], "--allow contents"),
        (["tune", "--allow", "nothing", "--", "true"], "--allow nothing"),
        (["report", "nosuch"], "nosuch"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what(tmp_path: Path, words: list[str], said: str) -> None:
    done = peephole(*words, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["./nosuch"], "./nosuch: not found"),
        (["nosuch-program"], "nosuch-program: not found in PATH"),
        (["./plain"], "./plain: not executable"),
        (["sh", "-c", "exit 7"], "ended with code 7"),
        (["sh", "-c", "kill -9 $$"], "ended with signal 9"),
    ],
)
def test_a_command_that_fails_is_one_line_and_exit_code_1(tmp_path: Path, command: list[str], said: str) -> None:
    (tmp_path / "plain").write_text("x")
    done = off("--", *command, cwd=tmp_path)
    assert done.returncode == 1 and said in done.stderr.splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr and not done.stdout


def test_a_failing_command_is_failed_in_json(tmp_path: Path) -> None:
    done = off("--json", "--", "false", cwd=tmp_path)
    found = json.loads(done.stdout)
    check_result(found)
    assert (done.returncode, found["verdict"]) == (1, "failed") and "code 1" in found["reason"]


def test_outputs_that_differ_are_exit_code_1_with_the_byte(tmp_path: Path) -> None:
    done = off("--json", "--", "sh", "-c", "echo x >>seen; printf 'abc'; wc -l <seen", cwd=tmp_path)
    found = json.loads(done.stdout)
    check_result(found)
    assert (done.returncode, found["verdict"]) == (1, "different")
    assert found["differences"][0]["what"] == "stdout" and found["differences"][0]["offset"] == 3


def test_standard_input_reaches_every_run(tmp_path: Path) -> None:
    done = off("-o", "out", "--", "cat", cwd=tmp_path, text="some\ninput\n")
    assert done.returncode == 0, done.stderr
    texts = {path.read_text() for path in (tmp_path / "out" / "runs").glob("*/stdout")}
    assert texts == {"some\ninput\n"}


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    done = off("-o", "mine", "--", "true", cwd=tmp_path)
    assert done.returncode == 2 and "thesis.txt" in done.stderr
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_an_earlier_result_is_replaced(tmp_path: Path) -> None:
    for word in ("one", "two"):
        assert off("-o", "out", "--", "echo", word, cwd=tmp_path).returncode == 0
    assert json.loads((tmp_path / "out" / "result.json").read_text())["command"] == ["echo", "two"]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_ends_the_tree_and_keeps_what_was_measured(tmp_path: Path, signum: int, code: int) -> None:
    marker = f"marker-{os.getpid()}-{time.monotonic_ns()}"
    script = "echo $$ >>pids; sh -c 'sleep 600 & wait' " + marker + " & [ $(wc -l <pids) -ge 5 ] && sleep 600; kill $!"
    words = ["evaluate", "--rules", "off", "--repeat", "1", "--grace", "0", "-o", "out", "--", "sh", "-c", script]
    with subprocess.Popen([*PEEPHOLE, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tuning:
        deadline_s = time.monotonic() + 60
        pids = tmp_path / "pids"
        while not (pids.exists() and len(pids.read_text().splitlines()) >= 5) and time.monotonic() < deadline_s:
            time.sleep(0.02)
        tuning.send_signal(signum)
        _, said = tuning.communicate(timeout=30)
    assert tuning.returncode == code, said
    assert b"Traceback" not in said
    found = json.loads((tmp_path / "out" / "result.json").read_text())
    check_result(found)
    assert found["verdict"] == "failed" and "interrupted after 1 pairs" in found["reason"]
    left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if marker.encode() in _read(p)]
    assert not left
    for pid in pids.read_text().split():
        assert not Path(f"/proc/{pid}").exists()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_server_is_driven_and_its_drivers_figures_are_there(tmp_path: Path) -> None:
    server = "touch up; trap 'exit 0' TERM; while :; do sleep 0.02; done"
    driver = 'sh -c \'sleep 0.05; echo "{\\"requests_per_s\\": 100}"\''
    done = off(
        *("--json", "--drive", driver, "--ready", "file:up", "--fresh", "rm -f up", "--", "sh", "-c", server),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    figure = json.loads(done.stdout)["figures"]["driver.requests_per_s"]
    assert figure["better"] == "higher" and figure["before"] == 100


def test_a_result_is_reported_again_and_redacted(tmp_path: Path) -> None:
    assert off("-o", "out", "--", "cat", "/etc/hostname", cwd=tmp_path).returncode == 0
    done = peephole("report", "out", "-o", "plain.html", cwd=tmp_path)
    assert done.returncode == 0 and "/etc/hostname" in (tmp_path / "plain.html").read_text()
    done = peephole("report", "out/result.json", "--redact", "-o", "hidden.html", cwd=tmp_path)
    hidden = (tmp_path / "hidden.html").read_text()
    assert done.returncode == 0 and "hostname" not in hidden and str(tmp_path) not in hidden


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "other"}', '{"schema": "peephole/result", "version": 9}'])
def test_a_result_that_is_none_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    done = peephole("report", "result.json", cwd=tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "result.json" in done.stderr

"""Budgets, formats for CI, fleets, sequences and skeletons: what `peephole diagnose` does beside naming waste."""

import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parent))
from helpers_capture import PRICES, capture_of

from peephole.cli.diagnose import command
from peephole.diagnose.budget import read_budget, spent
from peephole.diagnose.fleet import opened
from peephole.diagnose.sequences import sequences
from peephole.diagnose.tables import tables_of
from peephole.errors import CaptureError, PeepholeError, UsageError
from peephole.observe.capture import open_capture
from peephole.prove.language import parse_rule
from peephole.prove.skeleton import write_skeleton

BUDGET = """
schema = "peephole/budget"
version = 1
units = 100
[program.server]
calls = 10
write = {write}
["program"."*"]
getpid = 5
"""


def _capture(folder: Path) -> Path:
    lines = [
        b'7  execve("/usr/sbin/server", ["server"], 0x7f) = 0\n',
        b'7  open("/var/log/a", O_WRONLY|O_APPEND) = 3\n',
    ]
    lines += [
        b'7  write(3, "line\\n", 5) = 5\n',
        b"7  sched_yield() = 0\n",
        b"7  getpriority(PRIO_PROCESS, 0) = 20\n",
    ] * 300
    return capture_of(lines, folder).folder


@pytest.fixture
def capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("peephole.improve.armed.prices_for", lambda place: PRICES)
    return _capture(tmp_path / "a.capture")


def _budget(folder: Path, write: object = 3) -> Path:
    path = folder / "calls.budget"
    path.write_text(BUDGET.replace("{write}", str(write)))
    return path


def _run(*words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


def test_a_kept_budget_passes_and_a_broken_one_fails_with_3(capture: Path, tmp_path: Path) -> None:
    done = _run(capture, "--budget", _budget(tmp_path, 3))
    assert done.exit_code == 0, done.output
    assert "within budget: server: 3 write calls for each unit of work, 3 allowed" in done.output
    done = _run(capture, "--budget", _budget(tmp_path, 2.9))
    assert done.exit_code == 3
    assert "OVER BUDGET: server: 3 write calls for each unit of work, 2.9 allowed" in done.output


def test_units_of_the_command_line_go_before_those_of_the_file(capture: Path, tmp_path: Path) -> None:
    assert _run(capture, "--budget", _budget(tmp_path, 2.9), "--units", 1000).exit_code == 0
    assert _run(capture, "--budget", _budget(tmp_path, 3), "--units", 50).exit_code == 3


def test_the_same_answer_in_json_sarif_and_junit(capture: Path, tmp_path: Path) -> None:
    budget = _budget(tmp_path, 1)
    found = json.loads(_run(capture, "--json", "--budget", budget).stdout)
    assert [(one["call"], one["over"]) for one in found["budget"]] == [
        (None, False),
        ("write", True),
        ("getpid", False),
    ]
    log = json.loads(_run(capture, "--format", "sarif", "--budget", budget).stdout)
    (run,) = log["runs"]
    assert log["version"] == "2.1.0"
    levels = [(result["ruleId"], result["level"]) for result in run["results"]]
    assert ("budget", "error") in levels and ("small_writes", "note") not in levels
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == {result["ruleId"] for result in run["results"]}
    root = ET.fromstring(_run(capture, "--format", "junit", "--budget", budget).stdout)
    suite = root.find("testsuite[@name='peephole budget']")
    assert suite is not None and (suite.get("tests"), suite.get("failures")) == ("3", "1")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("what is this", "not a budget"),
        ('schema = "other"', "not a budget"),
        ('schema = "peephole/budget"\nversion = 9', "version 9"),
        ('schema = "peephole/budget"\nversion = 1', "no [program.NAME]"),
        ('schema = "peephole/budget"\nversion = 1\n[program.a]\nwriet = 1', "no system call named wriet"),
        ('schema = "peephole/budget"\nversion = 1\n[program.a]\nwrite = "1"', "not a number"),
    ],
)
def test_a_wrong_budget_is_named(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "b").write_text(text)
    with pytest.raises(UsageError, match=says.replace("[", r"\[")):
        read_budget(tmp_path / "b")


def test_a_budget_for_a_program_that_did_not_run_is_no_pass(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no captured program is called server"):
        spent(read_budget(_budget(tmp_path)), None, Counter({("other", "write"): 1}))


def test_captures_are_named_by_pattern_and_by_url(capture: Path, tmp_path: Path) -> None:
    shutil.copytree(capture, tmp_path / "b.capture")
    with opened([str(tmp_path / "*.capture")]) as found:
        assert [one.folder.name for one in found] == ["a.capture", "b.capture"]
    with opened([f"file://{tmp_path}/*.capture"]) as found:
        assert [one.meta.events for one in found] == [902, 902]
        assert all(one.calls.exists() for one in found)
        copied = [one.folder for one in found]
    assert not any(folder.exists() for folder in copied)
    with opened([f"file://{capture}"]) as found:
        assert len(found) == 1
    for word in (str(tmp_path / "*.none"), f"file://{tmp_path}/*.none", f"file://{tmp_path}/none", "nosuch://a/b"):
        with pytest.raises(CaptureError), opened([word]):
            pass


def test_a_frequent_sequence_is_told_and_becomes_a_skeleton(capture: Path, tmp_path: Path) -> None:
    with tables_of(open_capture(capture)) as tables:
        found = sequences(tables, [])
    first = found[0]
    assert set(first.calls) == {"write", "sched_yield", "getpriority"} and len(first.calls) in (3, 4, 5, 6)
    assert first.program == "server" and first.along == "thread" and first.share_of_calls > 0.9
    assert first.share_of_time is None, "the log has no times"
    made = write_skeleton(tmp_path / "rules", first.calls, first.program, first.times)
    rule = parse_rule((made / "rule.py").read_bytes(), made / "rule.py", made.name)
    assert rule is not None and (made / "demo.c").exists() and (made / "refuted").is_dir()
    with pytest.raises(PeepholeError, match="there already"):
        write_skeleton(tmp_path / "rules", first.calls, first.program, first.times)


def test_the_profile_counts_calls_where_nothing_was_sampled(capture: Path) -> None:
    found = json.loads(_run(capture, "--profile", "--json").stdout)["profiles"][0]
    assert {one["name"]: one["calls"] for one in found["calls"]}["write"] == 300
    assert found["functions"] == [] and "--stacks" in found["why_no_functions"]
    assert "write" in _run(capture, "--profile").output

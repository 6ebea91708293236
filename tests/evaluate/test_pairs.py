"""Pairs of real runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from peephole.evaluate.evaluate import Evaluation
from peephole.evaluate.pairs import Pairs
from peephole.evaluate.repeats import may_repeat, repeats_for
from peephole.evaluate.warnings import of_environment
from peephole.evaluate.workload import Same, Workload


def evaluation(
    tmp_path: Path,
    *command: str,
    pairs: int | None = 2,
    repeat: int | None = 1,
    after: dict[str, str] | None = None,
    **more: object,
) -> Evaluation:
    env = dict(os.environ)
    job = Workload(command, tmp_path, env, file_systems=(tmp_path,), **more)  # type: ignore[arg-type]
    return Evaluation(job, Pairs(job, env, env | (after or {}), tmp_path / "runs", seed=11, fixed=pairs, repeat=repeat))


@pytest.fixture(autouse=True)
def runs(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()


BUSY = "import os\nfor i in range(int(os.environ.get('ROUNDS', 4 * 10**6))): pass\nprint('done')"


def test_a_command_against_itself_shows_no_gain(tmp_path: Path) -> None:
    one = evaluation(tmp_path, sys.executable, "-c", BUSY, pairs=8)
    one.run()
    assert one.verdict == "no-gain", one.result().to_json()
    assert one.figures["cpu"].pairs == 8 and len(one.result().ratios) == 8


def test_half_the_work_is_a_gain_and_more_work_a_loss(tmp_path: Path) -> None:
    less = evaluation(tmp_path, sys.executable, "-c", BUSY, pairs=8, after={"ROUNDS": str(4 * 10**5)})
    less.run()
    assert less.verdict == "gain", less.reason
    more = evaluation(tmp_path, sys.executable, "-c", BUSY, pairs=8, after={"ROUNDS": str(16 * 10**6)})
    more.run()
    assert more.verdict == "loss", more.reason


def test_pairs_stop_when_the_answer_is_clear(tmp_path: Path) -> None:
    one = evaluation(tmp_path, sys.executable, "-c", BUSY, pairs=None, after={"ROUNDS": "1"})
    one.run()
    assert one.verdict == "gain" and len(one.pairs.done) == 10


def test_a_pair_may_run_each_side_several_times_in_turns(tmp_path: Path) -> None:
    one = evaluation(tmp_path, "sh", "-c", "echo ${X:-A} >>order", pairs=2, repeat=3, after={"X": "B"}, same=())
    one.run()
    order = (tmp_path / "order").read_text().split()
    assert order[:2] == ["A", "B"] and len(order) == 2 + 2 * 6, order
    for i, pair in enumerate(one.pairs.done):
        turns = "".join(order[2 + 6 * i : 8 + 6 * i])
        assert turns == ("ABBAAB" if pair.first == "A" else "BAABBA")
    assert one.result().conditions["runs_a_side"] == 3


def test_a_difference_in_a_later_turn_is_seen(tmp_path: Path) -> None:
    script = "echo x >>n; [ $(wc -l <n) -lt 7 ] || printf ${X:-a}"
    one = evaluation(tmp_path, "sh", "-c", script, pairs=2, repeat=3, after={"X": "b"})
    one.run()
    assert one.verdict == "different" and one.differences[0].offset == 0


def test_only_short_commands_that_scatter_are_repeated(tmp_path: Path) -> None:
    assert repeats_for([0.1, 0.1001, 0.0999, 0.1, 0.1, 0.1002], 0.1) == 1
    assert repeats_for([0.1, 0.105, 0.095, 0.1, 0.108, 0.093], 0.1) == 8
    assert repeats_for([0.1, 0.103, 0.097, 0.1, 0.102, 0.098], 0.1) in range(2, 8)
    assert repeats_for([0.7, 0.8, 0.6, 0.7, 0.9, 0.5], 0.7) == 2
    job = Workload(("true",), tmp_path, {})
    assert may_repeat(job, 0.1) and not may_repeat(job, 2.0)
    assert not may_repeat(Workload(("true",), tmp_path, {}, drive=("true",)), 0.1)


def test_a_differing_byte_is_the_verdict(tmp_path: Path) -> None:
    one = evaluation(tmp_path, "sh", "-c", "printf 'abc%sdef' ${X:-1}", after={"X": "2"})
    one.run()
    assert one.verdict == "different"
    assert one.differences[0].what == "stdout" and one.differences[0].offset == 3
    assert one.result().exit_code == 1


def test_a_command_that_never_repeats_itself_is_told_apart(tmp_path: Path) -> None:
    one = evaluation(tmp_path, "sh", "-c", "date +%N")
    one.run()
    assert one.verdict == "different" and "two unchanged runs" in one.reason
    free = evaluation(tmp_path, "sh", "-c", "date +%N", same=(Same("exit"),))
    free.run()
    assert free.verdict == "no-gain"


def test_a_failing_command_is_failed_with_its_code(tmp_path: Path) -> None:
    one = evaluation(tmp_path, "sh", "-c", "exit 3")
    one.run()
    assert one.verdict == "failed" and "ended with code 3" in one.reason


def test_a_command_that_fails_only_improved_is_different(tmp_path: Path) -> None:
    one = evaluation(tmp_path, "sh", "-c", 'exit "${X:-0}"', after={"X": "4"})
    one.run()
    assert one.verdict == "different" and one.differences[0].what == "exit"


def test_a_timeout_is_failed(tmp_path: Path) -> None:
    one = evaluation(tmp_path, "sleep", "600", timeout_s=0.2)
    one.run()
    assert one.verdict == "failed" and "did not end within 0.2 s" in one.reason


def test_order_is_random_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    def order(name: str) -> str:
        (tmp_path / name).mkdir()
        job = Workload(("true",), tmp_path, dict(os.environ))
        pairs = Pairs(job, job.env, job.env, tmp_path / name, seed=3, fixed=6)
        pairs.measure()
        return "".join(pair.first for pair in pairs.done)

    assert order("one") == order("two")
    assert {"A", "B"} == set(order("three"))


def test_variables_that_skew_python_are_named() -> None:
    names = [w.name for w in of_environment({"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "PATH": ""})]
    assert names == ["PYTHONUNBUFFERED-set", "PYTHONDONTWRITEBYTECODE-set"]
    assert of_environment({"PYTHONUNBUFFERED": ""}) == []

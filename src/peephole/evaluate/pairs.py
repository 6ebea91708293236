"""Interleaved pairs of runs: before (A) and after (B), in random order, on fresh state, with nothing recording.

A pair of a short and noisy command runs each side several times, in turns, and takes the medians: two processes of one
program differ by some percent in how they lie in memory, however long they run, and only more processes help. How
often is settled before the first pair, from runs of the unchanged side alone, so it can't favour an answer.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, median

from peephole.errors import UsageError
from peephole.evaluate import same, statistics
from peephole.evaluate.repeats import MOST_REPEATS, TRIALS, may_repeat, repeats_for
from peephole.evaluate.run import MEANS, Run, last_words, run, unit_of
from peephole.evaluate.workload import Workload

LINK_BYTES = 1 << 20  # equal outputs of at least this size are kept once


class Failed(Exception):
    """The command failed or timed out; the message says in which run."""


class Differs(Exception):
    """Outputs differ: `found` says where; `unstable` when two unchanged runs differ as well."""

    def __init__(self, found: list[same.Difference], unstable: bool) -> None:
        super().__init__(str(found[0]))
        self.found = found
        self.unstable = unstable


@dataclass(frozen=True)
class Pair:
    """One pair; `first` is which side ran first. With repeats, a side's figures are those of its runs together."""

    number: int
    first: str  # A | B
    before: Run
    after: Run


def together(runs: list[Run]) -> Run:
    """One side's runs of a pair as one: medians of times, means of counts and of what comes in coarse ticks."""
    if len(runs) == 1:
        return runs[0]
    names = [name for name in runs[0].figures if all(name in one.figures for one in runs)]
    figures = {name: (mean if name in MEANS else median)([one.figures[name] for one in runs]) for name in names}
    left = max(one.left_behind for one in runs)
    return replace(runs[0], figures=figures, left_behind=left)


@dataclass
class Pairs:
    """A series of pairs as it grows; what was measured so far survives an interruption.

    `before` and `after` give the environment of either side. `on_run` is told before each run what it will be.
    """

    workload: Workload
    before: dict[str, str]
    after: dict[str, str]
    folder: Path
    seed: int
    primary: str = "cpu"
    fixed: int | None = None  # this many pairs; None: until the answer is clear
    beside: tuple[str, ...] = ()  # runs beside the improved side, see `run`
    repeat: int | None = None  # runs a side in each pair; None: chosen after the warm-up
    on_run: Callable[[str], None] = lambda what: None
    done: list[Pair] = field(default_factory=list)
    runs: int = 0
    varies: str | None = None  # what was left out of the comparison because unchanged runs differ in it
    _first_stdout: Path | None = None

    def most(self) -> int:
        """The most pairs that will be run, the warm-up not counted."""
        return self.fixed if self.fixed is not None else statistics.MAX_PAIRS

    def most_runs(self) -> int:
        """The most runs that this can take, as far as is known."""
        repeat = self.repeat or (1 if self.fixed is not None else MOST_REPEATS)
        return 2 * (1 + self.most() * repeat) + (TRIALS if repeat > 1 and self.repeat is None else 0)

    def measure(self) -> dict[str, statistics.Figure]:
        """Warm up, then run pairs until the answer is clear. Raises Failed, Differs, RunError, UsageError."""
        order = random.Random(self.seed)
        self._warm_up()
        figures: dict[str, statistics.Figure] = {}
        for number in range(1, self.most() + 1):
            pair = self._pair(number, order.choice("AB"))
            self.done.append(pair)
            if number == self.most() or (self.fixed is None and number in statistics.LOOKS):
                figures = self.figures()
                if statistics.is_clear(figures, self.primary):
                    break
        return figures

    def figures(self) -> dict[str, statistics.Figure]:
        """The figures of the pairs so far."""
        if not self.done:
            return {}
        fixed = self.fixed is not None
        names = [n for n in self.done[0].before.figures if all(self._has(pair, n) for pair in self.done)]
        found = {}
        for index, name in enumerate(names):
            unit, better = unit_of(name)
            found[name] = statistics.figure(
                [pair.before.figures[name] for pair in self.done],
                [pair.after.figures[name] for pair in self.done],
                unit,
                better,
                fixed=fixed,
                seed=self.seed + index,
            )
        return found

    @staticmethod
    def _has(pair: Pair, name: str) -> bool:
        return name in pair.before.figures and name in pair.after.figures

    def _check_primary(self, pair: Pair) -> None:
        if not self._has(pair, self.primary):
            there = ", ".join(pair.before.figures)
            raise UsageError(f"--primary {self.primary}: no such figure; there are {there}")

    def _warm_up(self) -> None:
        """One pair that is left out; then, for a short command, unchanged runs that show how much they scatter."""
        wanted, self.repeat = self.repeat, 1
        try:
            pair = self._pair(0, "A")
        except Differs as e:
            if not e.unstable or any(self._asked(one) for one in e.found):
                raise
            # Nobody asked for it and it never repeats itself: a driver that prints times, say.
            self.workload = replace(self.workload, same=tuple(same for same in self.workload.same if same.asked))
            self.varies = str(e.found[0])
            pair = self._pair(0, "A")
        self._check_primary(pair)
        if wanted is None and self.fixed is None and may_repeat(self.workload, pair.before.figures["wall"]):
            trials = [self._trial(number) for number in range(TRIALS)]
            wanted = repeats_for([one.figures["cpu"] for one in trials], pair.before.figures["wall"])
        self.repeat = wanted or 1

    def _asked(self, found: same.Difference) -> bool:
        return next((one.asked for one in self.workload.same if one.kind == found.what), True)

    def _trial(self, number: int) -> Run:
        outcome = self._one(0, "A", f"00-{number + 2}-A")
        outcome.drop()
        self._share_stdout(outcome.run)
        return outcome.run

    def _pair(self, number: int, first: str) -> Pair:
        runs: dict[str, list[Run]] = {"A": [], "B": []}
        order = first + ("B" if first == "A" else "A")
        for turn in range(self.repeat or 1):
            name = f"{number:02d}" + (f"-{turn + 1}" if turn else "")
            before, after = self._turn(number, order if turn % 2 == 0 else order[::-1], name)
            runs["A"].append(before)
            runs["B"].append(after)
        pair = Pair(number, first, together(runs["A"]), together(runs["B"]))
        self._log(pair)
        return pair

    def _turn(self, number: int, order: str, name: str) -> tuple[Run, Run]:
        """One run of each side, what comes out compared."""
        with ExitStack() as kept:
            outcomes = {}
            for side in order:
                outcomes[side] = self._one(number, side, f"{name}-{side}")
                kept.callback(outcomes[side].drop)
            before, after = outcomes["A"], outcomes["B"]
            found = same.differences(self.workload, before, after)
            if found:
                again = self._one(number, "A", f"{name}-again")
                kept.callback(again.drop)
                raise Differs(found, unstable=bool(same.differences(self.workload, before, again)))
        for outcome in (before, after):
            self._share_stdout(outcome.run)
        return before.run, after.run

    def _one(self, number: int, side: str, name: str) -> same.Outcome:
        self.on_run("warm-up" if number == 0 else f"pair {number} of at most {self.most()}")
        env, beside = (self.before, ()) if side == "A" else (self.after, self.beside)
        one = run(self.workload, env, self.folder / name, beside)
        self.runs += 1
        which = "unchanged" if side == "A" else "improved"
        self._check(one, which)
        return same.outcome(self.workload, one)

    def _check(self, one: Run, which: str) -> None:
        name = self.workload.command[0]
        see = f"see {one.stderr}"
        if one.timed_out:
            limit = f"{self.workload.timeout_s:g} s"
            name = f"the driver of {name}" if self.workload.drive else name
            raise Failed(f"{name} ({which}) did not end within {limit}; give a longer --timeout, or {see}")
        if self.workload.drive:
            if one.raw["ended_early"]:
                how = same.ending(one.exit_code) + last_words(one.stderr)
                raise Failed(f"{name} ({which}) ended while it was driven, with {how}; {see}")
            if one.drive_exit != 0:
                driver = one.folder / "driver.stderr"
                how = same.ending(one.drive_exit or 0) + last_words(driver)
                raise Failed(f"the driver of {name} ({which}) ended with {how}; see {driver}")
        elif one.exit_code != 0 and (which == "unchanged" or not self.workload.wants("exit")):
            raise Failed(f"{name} ({which}) ended with {same.ending(one.exit_code)}{last_words(one.stderr)}; {see}")

    def _share_stdout(self, one: Run) -> None:
        if self._first_stdout is None:
            self._first_stdout = one.stdout
        elif one.stdout.stat().st_size >= LINK_BYTES and same.first_difference(self._first_stdout, one.stdout) is None:
            one.stdout.unlink()
            os.link(self._first_stdout, one.stdout)

    def _log(self, pair: Pair) -> None:
        line = {"pair": pair.number, "first": pair.first, "before": pair.before.figures, "after": pair.after.figures}
        with (self.folder / "pairs.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")

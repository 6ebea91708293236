"""Interleaved pairs of runs: before (A) and after (B), in random order, on fresh state, with nothing recording."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from peephole.errors import UsageError
from peephole.evaluate import same, statistics
from peephole.evaluate.run import Run, run, unit_of
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
    """One pair; `first` is which side ran first."""

    number: int
    first: str  # A | B
    before: Run
    after: Run


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
    on_run: Callable[[str], None] = lambda what: None
    done: list[Pair] = field(default_factory=list)
    runs: int = 0
    _first_stdout: Path | None = None

    def most(self) -> int:
        """The most pairs that will be run, the warm-up not counted."""
        return self.fixed if self.fixed is not None else statistics.MAX_PAIRS

    def measure(self) -> dict[str, statistics.Figure]:
        """Warm up, then run pairs until the answer is clear. Raises Failed, Differs, RunError, UsageError."""
        order = random.Random(self.seed)
        self._check_primary(self._pair(0, "A"))
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
        # After an interruption the number of pairs is no planned look: spend what the next look may.
        alpha = statistics.alpha_at(len(self.done), fixed)
        names = [n for n in self.done[0].before.figures if all(self._has(pair, n) for pair in self.done)]
        found = {}
        for index, name in enumerate(names):
            unit, better = unit_of(name)
            found[name] = statistics.figure(
                [pair.before.figures[name] for pair in self.done],
                [pair.after.figures[name] for pair in self.done],
                unit,
                better,
                alpha=alpha,
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

    def _pair(self, number: int, first: str) -> Pair:
        outcomes: dict[str, same.Outcome] = {}
        for side in first + ("B" if first == "A" else "A"):
            outcomes[side] = self._one(number, side, f"{number:02d}-{side}")
        before, after = outcomes["A"], outcomes["B"]
        found = same.differences(self.workload, before, after)
        if found:
            again = self._one(number, "A", f"{number:02d}-again")
            raise Differs(found, unstable=bool(same.differences(self.workload, before, again)))
        for outcome in (before, after):
            outcome.drop()
            self._share_stdout(outcome.run)
        pair = Pair(number, first, before.run, after.run)
        self._log(pair)
        return pair

    def _one(self, number: int, side: str, name: str) -> same.Outcome:
        self.on_run("warm-up" if number == 0 else f"pair {number} of at most {self.most()}")
        one = run(self.workload, self.before if side == "A" else self.after, self.folder / name)
        self.runs += 1
        which = "unchanged" if side == "A" else "improved"
        self._check(one, which)
        return same.outcome(self.workload, one)

    def _check(self, one: Run, which: str) -> None:
        name = self.workload.command[0]
        see = f"see {one.stderr}"
        if one.timed_out:
            limit = f"{self.workload.timeout_s:g} s"
            raise Failed(f"{name} ({which}) did not end within {limit}; give a longer --timeout, or {see}")
        if self.workload.drive:
            if one.raw["ended_early"]:
                raise Failed(f"{name} ({which}) ended while it was driven, with {same.ending(one.exit_code)}; {see}")
            if one.drive_exit != 0:
                driver = one.folder / "driver.stderr"
                raise Failed(
                    f"the driver of {name} ({which}) ended with {same.ending(one.drive_exit or 0)}; see {driver}"
                )
        elif one.exit_code != 0 and (which == "unchanged" or not self.workload.wants("exit")):
            raise Failed(f"{name} ({which}) ended with {same.ending(one.exit_code)}; {see}")

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

"""Budgets: how many calls a program may make for a unit of its work. The file lies in the program's repository.

schema = "peephole/budget"
version = 1
units = 2000              # units of work in the captures (requests, files); or --units

[program.postgres]        # the executable's name; "*" is all programs together
calls = 40                # at most, for each unit
fdatasync = 1.1
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peephole.errors import CaptureError, UsageError
from peephole.files import read_toml
from peephole.observe.syscalls import NUMBERS
from peephole.trace import Capture

SCHEMA, VERSION = "peephole/budget", 1
ALL = "*"


@dataclass(frozen=True)
class Limit:
    """At most `at_most` calls for each unit of work, of `program`; `call` None: of all calls together."""

    program: str
    call: str | None
    at_most: float


@dataclass(frozen=True)
class Budget:
    """What a budget's file says; `units` None where it leaves them to the command line."""

    limits: tuple[Limit, ...]
    units: float | None


@dataclass(frozen=True)
class Spent:
    """What a program made of one limit."""

    limit: Limit
    calls: int
    per_unit: float

    @property
    def over(self) -> bool:
        return self.per_unit > self.limit.at_most

    def sentence(self) -> str:
        """For people: who, what, how much, and how much was allowed."""
        program = "all programs" if self.limit.program == ALL else self.limit.program
        what = f"{self.limit.call} calls" if self.limit.call else "calls"
        return f"{program}: {self.per_unit:,.4g} {what} for each unit of work, {self.limit.at_most:,.4g} allowed"


def read_budget(path: Path) -> Budget:
    """The limits in `path`. Raises UsageError, which names what is wrong in it."""
    try:
        found = read_toml(path)
    except OSError as e:
        raise UsageError(f"{path}: {e.strerror}; name a budget's file") from e
    except ValueError as e:
        raise UsageError(f"{path}: not a budget ({e}); docs/cli.md shows one") from e
    if found.get("schema") != SCHEMA:
        raise UsageError(f'{path}: not a budget; its first line is schema = "{SCHEMA}"')
    if found.get("version") != VERSION:
        raise UsageError(f"{path}: a budget of version {found.get('version')!r}; this Peephole reads {VERSION}")
    programs = found.get("program")
    if not isinstance(programs, dict) or not programs:
        raise UsageError(f"{path}: there is no [program.NAME] in it")
    limits = tuple(limit for program, words in programs.items() for limit in _limits(path, program, words))
    units = found.get("units")
    if units is not None and not (_is_number(units) and units > 0):
        raise UsageError(f"{path}: units is {units!r}, not a number above 0")
    return Budget(limits, units)


def _limits(path: Path, program: str, words: Any) -> list[Limit]:
    if not isinstance(words, dict):
        raise UsageError(f"{path}: program.{program} is {words!r}; write [program.{program}] and limits below it")
    limits = []
    for call, at_most in words.items():
        if call != "calls" and call not in NUMBERS:
            raise UsageError(f"{path}: program.{program}: there is no system call named {call}")
        if not _is_number(at_most) or at_most < 0:
            raise UsageError(f"{path}: program.{program}.{call} is {at_most!r}, not a number")
        limits.append(Limit(program, None if call == "calls" else call, float(at_most)))
    return limits


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def spent(budget: Budget, units: float | None, counts: Counter[tuple[str, str]]) -> list[Spent]:
    """Each limit with what was made of it; `counts` are calls by (program, call).

    Raises UsageError when nothing says how many units of work there were, or a program is not in the captures.
    """
    units = units if units is not None else budget.units
    if units is None:
        raise UsageError("how many units of work the captures hold is not known; give --units, or units in the budget")
    programs = {program for program, _ in counts}
    unknown = [limit.program for limit in budget.limits if limit.program != ALL and limit.program not in programs]
    if unknown:
        raise UsageError(f"no captured program is called {unknown[0]}; there are {', '.join(sorted(programs))}")
    found = []
    for limit in budget.limits:
        calls = sum(
            n for (program, call), n in counts.items() if limit.program in (ALL, program) and limit.call in (None, call)
        )
        found.append(Spent(limit, calls, calls / units))
    return found


def check_whole(captures: list[Capture]) -> None:
    """Raise CaptureError when events are missing: then no budget was shown to be kept."""
    lost = sum(capture.meta.lost for capture in captures)
    if lost:
        raise CaptureError(f"{lost:,} events were lost: that a budget is kept can't be claimed; record it again")

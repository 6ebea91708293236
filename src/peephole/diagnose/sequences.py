"""Frequent sequences of calls that no detector names: per thread, and per descriptor.

A sequence is two to six calls in a row. It is told when it is frequent, not the repetition of a shorter one, not a part
or a turned-round form of a longer one that is told, and no detector names all of its calls.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from peephole.diagnose.detectors import detectors
from peephole.diagnose.tables import Tables, ordered
from peephole.observe.syscalls import NAMES
from peephole.trace import Finding

LENGTHS = (2, 3, 4, 5, 6)
#: rarer ones are no habit
ENOUGH = 50
#: nor are those that make up less of their program's calls
SHARE = 0.02
#: a call's number needs that many values; six of them fit into 63 bits
_BASE = 512


@dataclass(frozen=True)
class Sequence:
    """Calls in a row, and how much of their program they are."""

    program: str
    along: str  # "thread" or "descriptor"
    calls: tuple[str, ...]
    times: int
    share_of_calls: float
    share_of_time: float | None  # from the end of its first call to the end of its last; None without times


def sequences(tables: Tables, found: Iterable[Finding], most: int = 20) -> list[Sequence]:
    """The most frequent sequences, those that take most of their program first."""
    totals = {
        row["program"]: row
        for row in tables.images.group_by("program")
        .aggregate(calls=_sum("calls"), busy=_sum("busy_ns"))
        .to_pyarrow()
        .to_pylist()
    }
    named = _named_calls(found)
    candidates = [
        one
        for along, keys in (("thread", ("image", "tid")), ("descriptor", ("image", "ofd")))
        for one in _frequent(tables, along, keys, totals)
        if not set(one.calls) <= named.get(one.program, set())
    ]
    candidates.sort(key=lambda s: (-s.share_of_calls * len(s.calls), s.calls))
    told: list[Sequence] = []
    for one in candidates:
        if len(told) < most and not any(_is_part(one, other) for other in told):
            told.append(one)
    return sorted(told, key=lambda s: -s.share_of_calls)


def _sum(name: str) -> Any:
    from ibis import _

    return _[name].sum()


def _named_calls(found: Iterable[Finding]) -> dict[str, set[str]]:
    named: dict[str, set[str]] = {}
    for finding in found:
        named.setdefault(finding.program, set()).update(detectors()[finding.slug].calls)
    return named


def _frequent(tables: Tables, along: str, keys: tuple[str, ...], totals: dict[str, Any]) -> list[Sequence]:
    from ibis import _

    rows = tables.calls.select("image", "tid", "ofd", "seq", "ns", "nr")
    rows = rows.filter(_.nr.notnull(), _[keys[1]].notnull()).mutate(nr=_.nr.cast("int64") + 1)
    here = ordered(*keys)
    later = {f"n{k}": _.nr.lead(k).over(here) for k in range(1, max(LENGTHS))}
    ended = {f"t{k}": _.ns.lead(k).over(here) for k in range(1, max(LENGTHS))}
    rows = rows.mutate(**later, **ended).join(tables.programs, "image")
    found: list[Sequence] = []
    for length in LENGTHS:
        code = _.nr
        for k in range(1, length):
            code = code * _BASE + _[f"n{k}"]
        grams = rows.mutate(code=code, took=_[f"t{length - 1}"] - _.ns).filter(_.code.notnull())
        grams = grams.group_by("program", "code").aggregate(times=_.count(), took=_.took.sum())
        for row in grams.filter(_.times >= ENOUGH).to_pyarrow().to_pylist():
            one = _sequence(row, along, length, totals[row["program"]])
            if one is not None:
                found.append(one)
    return found


def _sequence(row: dict[str, Any], along: str, length: int, total: dict[str, Any]) -> Sequence | None:
    code, numbers = row["code"], []
    for _n in range(length):
        code, number = divmod(code, _BASE)
        numbers.append(number - 1)
    calls = tuple(NAMES.get(number, f"syscall_{number}") for number in reversed(numbers))
    share = row["times"] / total["calls"]
    if share * length < SHARE or _repeats(calls):
        return None
    # A loop's sequence counts once a turn, wherever it is begun.
    busy = total["busy"]
    time = min(1.0, row["took"] / busy) if busy and row["took"] is not None else None
    return Sequence(row["program"], along, calls, row["times"], min(1.0, share * length), time)


def _repeats(calls: tuple[str, ...]) -> bool:
    n = len(calls)
    return any(n % k == 0 and calls == calls[:k] * (n // k) for k in range(1, n))


def _is_part(one: Sequence, other: Sequence) -> bool:
    """Whether `one` is within `other` run twice (so also a turned-round form), or the other way."""
    if one.program != other.program:
        return False
    short, long = sorted((one.calls, other.calls), key=len)
    twice = long + long
    return any(twice[at : at + len(short)] == short for at in range(len(long)))

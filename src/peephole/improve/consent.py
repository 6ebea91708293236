"""What the user allows to be given up: `--allow`.

    durability:10ms,visibility@/var/lib/pg,all

Each word is a guarantee of the closed list, with a bound where it has one, for everything or below a path. `all`
stands for every guarantee that can be given up; contents and results never can.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from peephole.errors import UsageError
from peephole.prove.vocabulary import GUARANTEES

NEVER = ("contents", "results")
RELAXABLE = tuple(name for name in GUARANTEES if name not in NEVER)
#: guarantees that can be given up for a limited time
BOUNDED = ("freshness", "visibility", "durability")
_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "": 1.0}


@dataclass(frozen=True)
class Allowance:
    """One word of --allow. `bound_ms` None: without bound; `below` None: everywhere."""

    guarantee: str
    bound_ms: float | None = None
    below: PurePosixPath | None = None

    def __str__(self) -> str:
        bound = "" if self.bound_ms is None else f":{self.bound_ms:g}ms"
        return self.guarantee + bound + ("" if self.below is None else f"@{self.below}")


@dataclass(frozen=True)
class Consent:
    """All that the user allows; empty allows nothing."""

    allowances: tuple[Allowance, ...] = ()

    def covers(self, guarantee: str, bound_ms: float | None, folder: PurePosixPath | None = None) -> bool:
        """Whether `guarantee` may be lost for up to `bound_ms` (None: without bound) by everything below `folder`.

        With no folder, only consent that holds everywhere counts.
        """
        return any(
            allowed.guarantee == guarantee and _bound_fits(allowed, bound_ms) and _place_fits(allowed, folder)
            for allowed in self.allowances
        )

    def __str__(self) -> str:
        return ",".join(str(allowed) for allowed in self.allowances)


def _bound_fits(allowed: Allowance, bound_ms: float | None) -> bool:
    return allowed.bound_ms is None or (bound_ms is not None and bound_ms <= allowed.bound_ms)


def _place_fits(allowed: Allowance, folder: PurePosixPath | None) -> bool:
    return allowed.below is None or (folder is not None and folder.is_relative_to(allowed.below))


def parse(words: str | None) -> Consent:
    """Parse the value of --allow. Raises UsageError that names the word and what may stand there."""
    if words is None or not words.strip():
        return Consent()
    found: list[Allowance] = []
    for word in words.split(","):
        found += _parse_word(word.strip())
    return Consent(tuple(dict.fromkeys(found)))


def _parse_word(word: str) -> list[Allowance]:
    head, at, place = word.partition("@")
    name, colon, bound = head.partition(":")
    if at and not place.startswith("/"):
        raise UsageError(f"--allow {word}: after @ stands an absolute path, as in visibility@/var/lib/pg")
    below = PurePosixPath(os.path.realpath(place)) if at else None
    if name == "all":
        if colon:
            raise UsageError(f"--allow {word}: all has no bound; give bounds guarantee by guarantee")
        return [Allowance(guarantee, None, below) for guarantee in RELAXABLE]
    if name in NEVER:
        raise UsageError(f"--allow {word}: {name} can never be given up; leave it out")
    if name not in RELAXABLE:
        raise UsageError(f"--allow {word}: no such guarantee; there are {', '.join(RELAXABLE)} and all")
    if colon and name not in BOUNDED:
        raise UsageError(f"--allow {word}: {name} has no bound; only {', '.join(BOUNDED)} have one")
    return [Allowance(name, parse_bound(bound, word) if colon else None, below)]


def parse_bound(bound: str, word: str) -> float | None:
    """A bound in milliseconds: `10ms`, `1s`, `500us`; None for `unbounded`."""
    if bound == "unbounded":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|s)?", bound)
    if match is None:
        raise UsageError(f"--allow {word}: a bound is a time such as 10ms or 1s, or unbounded")
    return float(match[1]) * _UNITS_MS[match[2] or ""]

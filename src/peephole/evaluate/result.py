"""The answer of `tune` and `evaluate`: one frozen record, and its JSON (`peephole/result`, version 1)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from peephole.errors import PeepholeError
from peephole.evaluate.same import Difference
from peephole.evaluate.statistics import Figure
from peephole.evaluate.warnings import Warning
from peephole.evaluate.whole import write_whole
from peephole.files import read_plain

SCHEMA = "peephole/result"
VERSION = 1
VERDICTS = ("gain", "no-gain", "loss", "different", "failed")


class ResultError(PeepholeError):
    """A result can't be read: foreign, cut off, or of a newer version."""


@dataclass(frozen=True)
class RuleUse:
    """What one rule did in the improved runs; counts are sums over them."""

    name: str
    trust: str  # verified | trusted | isolated
    hits: int = 0
    settled: int = 0
    why_not: dict[str, int] = field(default_factory=dict)
    switched_off: str | None = None


@dataclass(frozen=True)
class GivenUp:
    """One guarantee given up: its bound, on which file-system profile, by which rules, where."""

    guarantee: str
    bound: str | None
    profile: str | None
    rules: list[str]
    where: list[str]


@dataclass(frozen=True)
class Result:
    """All that one `tune` or `evaluate` found. Times are seconds; `ratio` is after/before."""

    verdict: str
    reason: str
    command: list[str]
    primary: str
    figures: dict[str, Figure] = field(default_factory=dict)
    pairs: int = 0
    rules: list[RuleUse] = field(default_factory=list)
    given_up: list[GivenUp] = field(default_factory=list)
    declined: list[dict[str, Any]] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    not_covered: list[dict[str, Any]] = field(default_factory=list)
    findings: list[dict[str, Any]] = field(default_factory=list)
    calls: dict[str, dict[str, int]] = field(default_factory=dict)
    ratios: list[dict[str, Any]] = field(default_factory=list)
    stories: list[dict[str, Any]] = field(default_factory=list)
    proofs: list[dict[str, Any]] = field(default_factory=list)
    self_cost: dict[str, Any] = field(default_factory=dict)
    warnings: list[Warning] = field(default_factory=list)
    conditions: dict[str, Any] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """What the command line ends with: 1 when the command failed or outputs differ."""
        return 1 if self.verdict in ("failed", "different") else 0

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the contract, with everything that the terminal says."""
        return {"schema": SCHEMA, "version": VERSION, **asdict(self)}

    def save(self, path: Path) -> None:
        """Write it whole or not at all."""
        write_whole(path, json.dumps(self.to_json(), indent=1) + "\n")


def load(path: Path) -> Result:
    """Read a result.json. Raises ResultError, one line."""
    try:
        found = json.loads(read_plain(path))
    except (ValueError, RecursionError) as e:
        raise ResultError(f"{path}: not JSON ({e}); give a result.json of peephole tune") from e
    if not isinstance(found, dict) or found.pop("schema", None) != SCHEMA:
        raise ResultError(f"{path}: not a result of peephole; give a result.json of peephole tune")
    if found.pop("version", None) != VERSION:
        raise ResultError(f"{path}: written by a newer peephole; use that one to read it")
    try:
        return Result(
            **(
                found
                | {
                    "figures": {name: Figure(**figure) for name, figure in found["figures"].items()},
                    "rules": [RuleUse(**rule) for rule in found["rules"]],
                    "given_up": [GivenUp(**given) for given in found["given_up"]],
                    "differences": [Difference(**difference) for difference in found["differences"]],
                    "warnings": [Warning(**warning) for warning in found["warnings"]],
                }
            )
        )
    except (TypeError, KeyError, AttributeError) as e:
        raise ResultError(f"{path}: damaged ({e}); run peephole tune again") from e

"""What calls cost on this machine, on one file system: the prices that savings are estimated with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Price:
    """CPU nanoseconds of one call, or one sequence of calls: the median of several rounds and their quartiles."""

    ns: float
    low: float
    high: float


#: What a rule's handler costs for a call that it answers itself; `interpose_cost` of the bench measures it.
ANSWERED = Price(60, 40, 120)


@dataclass(frozen=True)
class Prices:
    """Prices by name: `write_64`, `stat`, `overwrite_truncating` ...; `where` says for which file system."""

    where: str
    of: Mapping[str, Price] = field(default_factory=dict)

    def has(self, names: Iterable[str]) -> bool:
        """Whether all of these could be measured there: some file systems lack the calls that they are prices of."""
        return all(name == "answered" or name in self.of for name in names)

    def __getitem__(self, name: str) -> Price:
        return ANSWERED if name == "answered" else self.of[name]

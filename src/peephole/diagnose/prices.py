"""What calls cost on this machine, on one file system: the prices that savings are estimated with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field


@dataclass(frozen=True)
class Price:
    """CPU nanoseconds of one call, or one sequence of calls: the median of several rounds and their quartiles."""

    ns: float
    low: float
    high: float


#: what is not measured, since nothing is paid
FREE = Price(0, 0, 0)
#: the price of a call that a rule answers which is none of Peephole's yet: that of the simplest one
ANSWERED = "memo_identity:getpid"
#: prices that grow with size in a line, and the two sizes that are measured
LINES = {"write": (64, 2048), "read": (64, 2048), "overwrite": (4096, 32768)}


@dataclass(frozen=True)
class Beside:
    """What having a rule in a program costs beside what it does, in nanoseconds: a start, an opened file, a call that
    is nothing to it.
    """

    start_ns: float = 0
    opened_ns: float = 0
    passed_ns: float = 0

    def __or__(self, other: Beside) -> Beside:
        """With several rules as much as with the dearest of them."""
        return Beside(*map(max, astuple(self), astuple(other)))


@dataclass(frozen=True)
class Prices:
    """Prices by name; `where` says for which file system.

    `stat` is the price of a call, `RULE:stat` of the same with the rule in it, `write_call` and `write_byte` those of
    any write and of each of its bytes. `RULE:start` is what a process costs more that starts with the rule,
    `RULE:passed` a call that it leaves to the kernel, `RULE:opened` the opening and closing of a file. Where a rule
    could not be brought in, what it does costs nothing: savings are then what removing the calls would save.
    """

    where: str
    of: Mapping[str, Price] = field(default_factory=dict)

    def has(self, names: Iterable[str]) -> bool:
        """Whether all of these could be measured there: some file systems lack the calls that they are prices of."""
        return all(name == "answered" or ":" in name or name in self.of for name in names)

    def __getitem__(self, name: str) -> Price:
        name = ANSWERED if name == "answered" else name
        return self.of.get(name, FREE) if ":" in name else self.of[name]

    def beside(self, rule: str) -> Beside:
        """What having this rule in a program costs."""
        return Beside(*(self[f"{rule}:{name}"].ns for name in ("start", "opened", "passed")))


def with_lines(of: Mapping[str, Price]) -> dict[str, Price]:
    """`of`, and the price of a call and of a byte where two sizes were measured."""
    found = dict(of)
    for name, price in of.items():
        rule, colon, call = name.rpartition(":")
        family, _, size = call.rpartition("_")
        small, large = LINES.get(family, (0, 0))
        larger = of.get(f"{rule}{colon}{family}_{large}")
        if not size.isdigit() or int(size) != small or larger is None:
            continue
        byte = max(0.0, (larger.ns - price.ns) / (large - small))
        less = byte * small
        found[f"{rule}{colon}{family}_byte"] = Price(byte, byte, byte)
        found[f"{rule}{colon}{family}_call"] = Price(price.ns - less, price.low - less, price.high - less)
    return found

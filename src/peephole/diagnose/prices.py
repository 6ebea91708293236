"""What calls cost on this machine, on one file system: the prices that savings are estimated with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field, replace


@dataclass(frozen=True)
class Price:
    """CPU nanoseconds of one call, or one sequence of calls: the median of several rounds and their quartiles.

    `ns` is what a program pays that works between its calls; `bare` what one pays that does nothing else.
    """

    ns: float
    low: float
    high: float
    bare: float | None = None

    def figures(self) -> dict[str, float]:
        """As JSON has them."""
        bare = self.ns if self.bare is None else self.bare
        return {"ns": self.ns, "low": self.low, "high": self.high, "bare_ns": bare}

    def of_share(self, share: float) -> Price:
        """What lies between: 0 is bare, 1 is after work."""
        less = 0.0 if self.bare is None else (1 - share) * (self.ns - self.bare)
        return Price(self.ns - less, self.low - less, self.high - less)


#: what is not measured, since nothing is paid
FREE = Price(0, 0, 0)
#: the price of a call that a rule answers which is none of Peephole's yet: that of the simplest one
ANSWERED = "memo_identity:getpid"
#: the price of a call that no rule acts on
PASSED = "passed"
#: the price of the work itself that the others are measured after
WORK = "work"
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
    share: float = 1.0  # of the work that prices are measured after, what the program does between its calls

    def bare(self) -> Prices:
        """The prices in a bare loop."""
        return replace(self, share=0.0)

    def paid_by(self, between_ns: float | None) -> Prices:
        """The prices for a program that works so long between two calls; None: not known."""
        work_ns = self.of[WORK].ns if WORK in self.of else 0.0
        if between_ns is None or not work_ns:
            return self
        return replace(self, share=max(0.0, min(1.0, between_ns / work_ns)))

    def has(self, names: Iterable[str]) -> bool:
        """Whether all of these could be measured there: some file systems lack the calls that they are prices of."""
        return all(name == "answered" or ":" in name or name in self.of for name in names)

    def __getitem__(self, name: str) -> Price:
        name = ANSWERED if name == "answered" else name
        price = self.of.get(name, FREE) if ":" in name else self.of[name]
        return price.of_share(self.share)

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
        bare = None if price.bare is None else price.bare - less
        found[f"{rule}{colon}{family}_byte"] = Price(byte, byte, byte)
        found[f"{rule}{colon}{family}_call"] = Price(price.ns - less, price.low - less, price.high - less, bare)
    return found

"""The control page, as core/include/peephole/abi_control.h lays it out."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from peephole.errors import EngineError

MAGIC = 0x4C48504545504C31
VERSION = 6
RULES_MAX = 24
MOUNTS_MAX = 64
UNCOVERED_MAX = 64
SLOTS = 512
DELAYS_MAX = 16

#: enum ph_why
WHYS = (
    "shared",
    "not_regular",
    "not_alone",
    "mount",
    "unhandled",
    "blocking",
    "fork",
    "exec",
    "exit",
    "full",
    "contended",
    "switched_off",
    "fault",
    "settle_failed",
    "contained",
    "no_gain",
    "deadline",
    "killed",
    "wrong",
)
#: enum ph_profile
PROFILES = {"ext4-ordered": 1, "weak": 2}
#: enum ph_trust
TRUSTS = ("verified", "trusted", "isolated")
#: enum ph_uncovered_why
UNCOVERED = ("none", "sites", "secure", "static", "foreign", "library", "unknown_libc", "sandbox")


class _Rule(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char * 48),
        ("enabled", ctypes.c_uint32),
        ("switched_off", ctypes.c_uint32),
        ("hits", ctypes.c_uint64),
        ("settled", ctypes.c_uint64),
        ("why", ctypes.c_uint64 * len(WHYS)),
        ("price_ns", ctypes.c_uint64),
        ("trust", ctypes.c_uint64),
        ("table_fd", ctypes.c_uint64),
        ("table_ino", ctypes.c_uint64),
    )


class _Mount(ctypes.Structure):
    _fields_ = (("dev", ctypes.c_uint64), ("profile", ctypes.c_uint32), ("rules", ctypes.c_uint32))


class _Uncovered(ctypes.Structure):
    _fields_ = (("pid", ctypes.c_int32), ("why", ctypes.c_uint32), ("exe", ctypes.c_char * 120))


class Page(ctypes.Structure):
    """struct ph_control."""

    _fields_ = (
        ("magic", ctypes.c_uint64),
        ("version", ctypes.c_uint32),
        ("size_bytes", ctypes.c_uint32),
        ("master", ctypes.c_uint32),
        ("n_rules", ctypes.c_uint32),
        ("n_mounts", ctypes.c_uint32),
        ("n_uncovered", ctypes.c_uint32),
        ("processes", ctypes.c_uint64),
        ("sites_patched", ctypes.c_uint64),
        ("sites_unpatched", ctypes.c_uint64),
        ("calls_passed", ctypes.c_uint64),
        ("settle_failures", ctypes.c_uint64),
        ("recording", ctypes.c_uint32),
        ("trapping", ctypes.c_uint32),
        ("owed", ctypes.c_uint64 * 7),
        ("rules", _Rule * RULES_MAX),
        ("mounts", _Mount * MOUNTS_MAX),
        ("uncovered", _Uncovered * UNCOVERED_MAX),
        ("keeper_pid", ctypes.c_uint32),
        ("keeper_fd", ctypes.c_uint32),
        ("keeper_dev", ctypes.c_uint64),
        ("keeper_ino", ctypes.c_uint64),
        ("keeper_rounds", ctypes.c_uint64),
        ("kept_lost", ctypes.c_uint64),
        ("slots", ctypes.c_uint32 * SLOTS),
        ("delay_ns", ctypes.c_uint64),
        ("delayed", ctypes.c_uint64),
        ("delay_calls", ctypes.c_uint16 * DELAYS_MAX),
    )


class RuleStats(TypedDict):
    """What one rule did: calls answered or made cheaper, effects made good, and why calls were not handled."""

    trust: str
    hits: int
    settled: int
    why_not: dict[str, int]
    switched_off: str | None


class NotCovered(TypedDict):
    """A program that ran without the runtime, or without rules."""

    pid: int
    exe: str
    why: str


class Stats(TypedDict):
    """What the runtime counted in all processes of one armed tree."""

    rules: dict[str, RuleStats]
    processes: int
    sites_patched: int
    sites_unpatched: int
    calls_passed: int
    settle_failures: int
    kept_lost: int
    not_covered: list[NotCovered]
    not_covered_seen: int


@dataclass(frozen=True)
class Mount:
    """A device on which rules may act: its st_dev, its crash profile by name, and which rules."""

    dev: int
    profile: str
    rules: tuple[str, ...]


class Control:
    """A mapped control file."""

    def __init__(
        self,
        path: Path,
        rules: tuple[str, ...],
        mounts: tuple[Mount, ...],
        prices: Mapping[str, int] | None = None,
        trusts: Mapping[str, str] | None = None,
    ) -> None:
        """Make the file, for its owner only. `prices`: what a hit of a rule saves, in nanoseconds; `trusts`: on whose
        word rules run that were not verified (`TRUSTS`).

        Raises EngineError when there are more rules or mounts than fit."""
        if len(rules) > RULES_MAX or len(mounts) > MOUNTS_MAX:
            raise EngineError(
                f"{len(rules)} rules on {len(mounts)} mounts are more than the {RULES_MAX} on {MOUNTS_MAX} that fit; "
                "name fewer"
            )
        size = ctypes.sizeof(Page)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, size)
            self._map = mmap.mmap(fd, size)
        finally:
            os.close(fd)
        page = self._page = Page.from_buffer(self._map)
        page.version, page.size_bytes, page.master = VERSION, size, 1
        page.n_rules, page.n_mounts = len(rules), len(mounts)
        for i, name in enumerate(rules):
            page.rules[i].name = name.encode()
            page.rules[i].enabled = 1
            page.rules[i].price_ns = (prices or {}).get(name, 0)
            page.rules[i].trust = TRUSTS.index((trusts or {}).get(name, "verified"))
        for i, mount in enumerate(mounts):
            page.mounts[i].dev = mount.dev
            page.mounts[i].profile = PROFILES[mount.profile]
            page.mounts[i].rules = sum(1 << rules.index(name) for name in mount.rules if name in rules)
        page.magic = MAGIC

    def record_uncovered(self, pid: int, exe: str, why: str) -> None:
        """Count a program that is started without the runtime."""
        slot = self._page.n_uncovered
        self._page.n_uncovered += 1
        if slot < UNCOVERED_MAX:
            one = self._page.uncovered[slot]
            one.pid, one.exe, one.why = pid, os.fsencode(exe)[:119], UNCOVERED.index(why)

    def start_recording(self) -> None:
        """Programs that start from now on write their calls to the file `ring` beside this one."""
        self._page.recording = 1

    def start_trapping(self) -> None:
        """In programs that start from now on calls are trapped, and no call site is patched."""
        self._page.trapping = 1

    @property
    def keeper_pid(self) -> int:
        """The process that looks after what is pending; 0: there is none."""
        return int(self._page.keeper_pid)

    @property
    def keeper_rounds(self) -> int:
        """How often it has looked after every process."""
        return int(self._page.keeper_rounds)

    @property
    def owes(self) -> bool:
        """Whether a sync of some program was answered and has not been made yet."""
        return bool(self._page.owed[0])

    def delay(self, calls: Collection[int], ns: int) -> None:
        """In programs that start from now on, calls of these numbers begin `ns` later (1: no later, but counted)."""
        if len(calls) > DELAYS_MAX:
            raise EngineError(f"{len(calls)} kinds of calls can't be delayed together, only {DELAYS_MAX}; name fewer")
        for place, nr in enumerate(sorted(calls)):
            self._page.delay_calls[place] = nr + 1
        self._page.delay_ns, self._page.delayed = ns, 0

    def delayed(self) -> int:
        """How many calls began later since then."""
        return int(self._page.delayed)

    def stats(self) -> Stats:
        """The counters now."""
        return stats_of(self._page)

    def close(self) -> None:
        """Unmap it; the file stays."""
        del self._page
        self._map.close()


def stats_of(page: Page) -> Stats:
    """A page's counters. What the targets wrote is taken as hostile: numbers only, names made printable."""
    return Stats(
        rules={_text(page.rules[i].name): _rule(page.rules[i]) for i in range(min(page.n_rules, RULES_MAX))},
        processes=page.processes,
        sites_patched=page.sites_patched,
        sites_unpatched=page.sites_unpatched,
        calls_passed=page.calls_passed,
        settle_failures=page.settle_failures,
        kept_lost=page.kept_lost,
        not_covered=[
            NotCovered(pid=one.pid, exe=_text(one.exe), why=UNCOVERED[one.why] if one.why < len(UNCOVERED) else "none")
            for one in page.uncovered[: min(page.n_uncovered, UNCOVERED_MAX)]
            if one.why
        ],
        not_covered_seen=page.n_uncovered,
    )


def _text(name: bytes) -> str:
    text = name.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _rule(rule: _Rule) -> RuleStats:
    off = rule.switched_off
    return RuleStats(
        trust=TRUSTS[rule.trust] if rule.trust < len(TRUSTS) else "trusted",
        hits=rule.hits,
        settled=rule.settled,
        why_not=dict(zip(WHYS, rule.why, strict=True)),
        switched_off=WHYS[off - 1] if 0 < off <= len(WHYS) else None,
    )

"""The invariant of a rule, found and not written: Houdini over some dozens of generic facts about one description.

Every candidate that some reachable state breaks is dropped by a quick random run; then, until nothing changes, every
candidate that some call can break, from a state in which all of them hold, is dropped too. What is left is inductive.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from peephole.prove.language import RuleText
from peephole.prove.model.kernel import status_flags
from peephole.prove.model.machine import (
    ACTION,
    CELLS,
    CHUNK,
    DESCRIPTIONS,
    EPOLLS,
    IDENTITIES,
    INODES,
    NAMES,
    SIGNALS,
    Machine,
    Sizes,
    process_keys,
)
from peephole.prove.model.mechanisms import pending
from peephole.prove.model.mechanisms.attributes import seen_holds, table_holds
from peephole.prove.model.mechanisms.examined import is_so
from peephole.prove.model.terms import Bool, add, and_, eq, iff, implies, ite, le, lt, most, not_
from peephole.prove.vocabulary import NUMBERS

Fact = Callable[[dict[str, Any], int], Bool]


@dataclass(frozen=True)
class Candidate:
    """One fact that may hold of every description: `label` says it in words."""

    label: str
    holds: Fact
    about: str = ""  # the text that says what is pending, for facts about what is


def candidates(rule: RuleText, sizes: Sizes) -> list[Candidate]:
    """Every combination of a guard and a generic fact over the rule's own fields."""
    bools = [n for n, kind in rule.fields.items() if kind == "bool"]
    nums = [n for n, kind in rule.fields.items() if kind == "num"]
    guards: dict[str, Fact] = {
        "handled": lambda s, d: s[f"d{d}.h"],
        "pending": lambda s, d: _pending(rule, sizes, s, d),
    }
    for name in bools:
        guards[name] = _bool_guard(name)
    facts: dict[str, Fact] = {
        "readable": lambda s, d: s[f"d{d}.rd"],
        "not O_PATH": lambda s, d: not_(s[f"d{d}.path"]),
        "writable": lambda s, d: s[f"d{d}.wr"],
        "not O_APPEND": lambda s, d: not_(s[f"d{d}.app"]),
        "not O_SYNC": lambda s, d: not_(s[f"d{d}.sync"]),
    }
    for name in bools:
        facts[f"{name} is O_APPEND"] = _flag(name)
        facts[f"not {name}"] = _without(name)
        facts[name] = _bool_guard(name)
    if rule.buffer:
        facts["the buffer is empty"] = lambda s, d: eq(s[f"d{d}.len"], 0)
    for a in nums:
        facts[f"{a} >= 0"] = _at_least_zero(a)
        if rule.streams:
            continue  # they have neither offset nor size
        facts |= {f"{a} is the offset": _relate(a, "pos", eq), f"{a} <= offset": _relate(a, "pos", le)}
        facts |= {f"{a} is the size": _relate_size(a, eq)}
        # What is copied from a mapping is right as far as the file reaches.
        facts[f"{MIRROR if 'copy_mapped' in rule.mechanisms else ''} {a} <= size".strip()] = _relate_size(a, le)
        facts[f"{a} is what F_GETFL says"] = _status_flags(a)
        if rule.buffer and "fill" in rule.mechanisms:
            facts[f"{MIRROR} the buffer holds the file from {a} on"] = _mirrors(f"f.{a}")
        for b in nums:
            if a != b:
                facts[f"{a} <= {b}"] = _two(a, b)
            if a < b:
                facts[f"size is the larger of {a} and {b}"] = _larger(a, b)
    if rule.sets_bits:
        facts["one descriptor"] = lambda s, d: eq(s[f"d{d}.refs"], 1)
        facts["the process has one thread"] = lambda s, d: not_(s["threads"])
        facts |= {f"{a} is F_GETFD's answer but where {b}": _bit_but(a, b) for a in nums for b in bools}
    if rule.streams:
        facts |= stream_facts(rule, nums)
    if rule.pipes:
        facts["the buffer holds the pipe from the offset on"] = _mirrors("pos")
        facts |= {f"{a} <= the buffer's length": _relate(a, "len", le) for a in nums}
    if "absent" in rule.mechanisms:
        return [Candidate(f"{MIRROR} absent names name nothing", _absent)]
    if "recalled" in rule.mechanisms:
        return action_candidates()
    if "examined" in rule.mechanisms:
        return [Candidate(f"{MIRROR} what is known of names is so", _known)]
    if "lacked" in rule.mechanisms:
        return [
            Candidate(f"{MIRROR} what was looked at is as it was", lambda s, d: seen_holds(s)),
            Candidate("what the table says is so of a file with that change time", lambda s, d: table_holds(s)),
        ]
    if not rule.per_file:
        return process_candidates(rule)
    text = "\n".join(map(ast.unparse, rule.pending.body))
    return [
        Candidate(f"{guard}: {fact}", _guarded(g, f), text if guard == "pending" else "")
        for guard, g in guards.items()
        for fact, f in facts.items()
        if fact not in (guard, f"not {guard}")
    ] + process_candidates(rule)


def stream_facts(rule: RuleText, nums: list[str]) -> dict[str, Fact]:
    """What may be remembered of a stream: the room that the kernel has, the socket's place in an interest list."""
    facts: dict[str, Fact] = {}
    if rule.interest:
        facts["the process has one thread"] = lambda s, d: not_(s["threads"])
    for a in nums:
        facts[f"{a} and the buffer <= room"] = _within_room(a)
        for b in nums if rule.interest else ():
            if a == b:
                facts[f"{a} is a mask"] = lambda s, d, a=a: and_(le(-1, s[f"d{d}.f.{a}"]), le(s[f"d{d}.f.{a}"], 3))  # type: ignore[misc]
                facts[f"{a} is 0 or 1"] = lambda s, d, a=a: and_(le(0, s[f"d{d}.f.{a}"]), lt(s[f"d{d}.f.{a}"], EPOLLS))  # type: ignore[misc]
                facts[f"{a} is an epoll that has it"] = _in_list(a, "in", None)
                facts[f"{a} is an epoll whose closing is seen"] = _asked(a)
                continue
            facts[f"{b} is the mask in {a}"] = _in_list(a, "mask", b)
            facts[f"{b} is the tag in {a}"] = _in_list(a, "tag", b)
    return facts


def _within_room(name: str) -> Fact:
    def holds(s: dict[str, Any], d: int) -> Bool:
        space, room = s[f"d{d}.f.{name}"], s[f"d{d}.room"]
        return and_(le(space, room), le(add(space, s[f"d{d}.len"]), room))  # the first keeps the sum from wrapping

    return holds


def _in_list(epoll: str, key: str, name: str | None) -> Fact:
    """In the list of the epoll that one field names, the place is there, or holds what another field says."""

    def holds(s: dict[str, Any], d: int) -> Bool:
        parts = []
        for q in range(EPOLLS):
            value = s[f"d{d}.q{q}.{key}"]
            right = value if name is None else eq(value, s[f"d{d}.f.{name}"])
            parts.append(implies(eq(s[f"d{d}.f.{epoll}"], q), right))
        return and_(*parts)

    return holds


def _asked(epoll: str) -> Fact:
    return lambda s, d: and_(*[implies(eq(s[f"d{d}.f.{epoll}"], q), s[f"q{q}.asked"]) for q in range(EPOLLS)])


def process_candidates(rule: RuleText) -> list[Candidate]:
    """Facts about the state of the process: what is remembered is what the kernel would answer."""
    bools = [n for n, kind in rule.process.items() if kind == "bool"]
    out = []
    for guard in [*bools, *[f"not {n}" for n in bools]]:
        for name, kind in rule.process.items():
            if kind == "num":
                out += [_process_fact(guard, f"{name} is {key}", name, key) for key in process_keys()[:-1]]
        out += [_threads_agree(guard, name) for name in IDENTITIES]
        out.append(Candidate(f"{guard}: users are mapped", _of_process(guard, lambda s: s["t.mapped"])))
    return out if rule.process else []


def action_candidates() -> list[Candidate]:
    """Facts about what is known of the actions of signals."""

    def every(fact: Callable[[dict[str, Any], int], Bool]) -> Fact:
        return lambda s, d: d > 0 or and_(*[implies(s[f"recall{j}.known"], fact(s, j)) for j in range(SIGNALS)])

    def in_force(part: str) -> Fact:
        return every(lambda s, j: eq(s[f"recall{j}.{part}"], s[f"t.act{j}.{part}"]))

    lasts = every(lambda s, j: lt(s[f"recall{j}.options"], NUMBERS["SA_RESETHAND"].model))
    return [
        *[Candidate(f"known: the {part} is the action's", in_force(part)) for part in ACTION],
        Candidate("known: it is not used up", lasts),
        Candidate("known: by this program alone", every(lambda s, j: not_(s[f"recall{j}.told"]))),
    ]


def _absent(s: dict[str, Any], d: int) -> Bool:
    return and_(*[implies(v, eq(s[f"n{k[7:]}"], -1)) for k, v in s.items() if k.startswith("absent.")])


def _known(s: dict[str, Any], d: int) -> Bool:
    return and_(*[is_so(s, j) for j in range(NAMES)])


def _of_process(guard: str, fact: Callable[[dict[str, Any]], Bool]) -> Fact:
    def holds(s: dict[str, Any], d: int) -> Bool:
        if d > 0:
            return True
        on = s[f"p.f.{guard.removeprefix('not ')}"]
        return implies(not_(on) if guard.startswith("not ") else on, fact(s))

    return holds


def _process_fact(guard: str, label: str, name: str, key: str) -> Candidate:
    return Candidate(f"{guard}: {label}", _of_process(guard, lambda s: eq(s[f"p.f.{name}"], s[key])))


def _threads_agree(guard: str, name: str) -> Candidate:
    label = f"{guard}: threads have the same {name}"
    return Candidate(label, _of_process(guard, lambda s: eq(s[f"t0.{name}"], s[f"t1.{name}"])))


#: how facts begin that say that what is remembered is what the kernel would answer
MIRROR = "remembered:"


def _mirrors(place: str) -> Fact:
    """The buffer's cells are those of the file from a place on."""

    def holds(s: dict[str, Any], d: int) -> Bool:
        at, length = s[f"d{d}.{place}"], s[f"d{d}.len"]
        same: list[Bool] = [implies(lt(0, length), and_(le(0, at), le(add(at, length), size_of(s, d))))]
        for c in range(CELLS):
            cell = of_file(s, d, f"c{c}")
            for b in range(min(c + 1, CHUNK)):
                inside = and_(lt(b, length), eq(at, c - b))
                same.append(implies(inside, eq(s[f"d{d}.b{b}"], cell)))
        return and_(*same)

    return holds


def all_hold(found: list[Candidate], state: dict[str, Any]) -> Bool:
    """Every fact, of every description."""
    return and_(*[c.holds(state, d) for c in found for d in range(DESCRIPTIONS)])


def _pending(rule: RuleText, sizes: Sizes, state: dict[str, Any], d: int) -> Bool:
    return pending(Machine(state, rule, sizes), rule, d)


def _guarded(guard: Fact, fact: Fact) -> Fact:
    return lambda s, d: implies(and_(s[f"d{d}.h"], guard(s, d)), fact(s, d))


def _bool_guard(name: str) -> Fact:
    return lambda s, d: s[f"d{d}.f.{name}"]


def _flag(name: str) -> Fact:
    return lambda s, d: iff(s[f"d{d}.f.{name}"], s[f"d{d}.app"])


def _without(name: str) -> Fact:
    return lambda s, d: not_(s[f"d{d}.f.{name}"])


def _relate(name: str, other: str, how: Callable[[Any, Any], Bool]) -> Fact:
    return lambda s, d: how(s[f"d{d}.f.{name}"], s[f"d{d}.{other}"])


def of_file(state: dict[str, Any], d: int, name: str) -> Any:
    """A field of the file that a description names."""
    value = state[f"i{INODES - 1}.{name}"]
    for i in range(INODES - 1):
        value = ite(eq(state[f"d{d}.ino"], i), state[f"i{i}.{name}"], value)
    return value


def size_of(state: dict[str, Any], d: int) -> Any:
    return of_file(state, d, "size")


def _relate_size(name: str, how: Callable[[Any, Any], Bool]) -> Fact:
    return lambda s, d: how(s[f"d{d}.f.{name}"], size_of(s, d))


def _status_flags(name: str) -> Fact:
    return lambda s, d: eq(s[f"d{d}.f.{name}"], status_flags(s, d))


def _bit_but(name: str, turned: str) -> Fact:
    """A field is the close-on-exec bit of the only descriptor; where another field is set, what it is not."""
    return lambda s, d: eq(s[f"d{d}.f.{name}"], ite(iff(s[f"d{d}.cx0"], s[f"d{d}.f.{turned}"]), 0, 1))


def _at_least_zero(name: str) -> Fact:
    return lambda s, d: not_(lt(s[f"d{d}.f.{name}"], 0))


def _two(a: str, b: str) -> Fact:
    return lambda s, d: le(s[f"d{d}.f.{a}"], s[f"d{d}.f.{b}"])


def _larger(a: str, b: str) -> Fact:
    return lambda s, d: eq(size_of(s, d), most(s[f"d{d}.f.{a}"], s[f"d{d}.f.{b}"]))

"""Counterexamples that a person can read: a bounded search for a short run of calls after which a guarantee is broken.

The search runs the same model on plain values: random runs of a few calls from a small file system, with a printed
seed, each made minimal by leaving out what it does not need. The solver has said before that there is something to find.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from peephole.prove.language import RuleText
from peephole.prove.model.alphabet import ALPHABET, ERRORS, Shape, plain_sizes, random_call, random_oracle
from peephole.prove.model.kernel import CREAT, Call, Data, Flags
from peephole.prove.model.machine import CELLS, CHUNK, DESCRIPTIONS, Machine, Oracle, start_state
from peephole.prove.narrate import tell
from peephole.prove.step import WITHOUT_RELY, Freedom, Step, take_step

CALLS_MAX = 5
SEED = 20020601  # any number: the search is repeatable


@dataclass
class Run:
    """A first state and the calls made from it."""

    start: dict[str, Any]
    calls: list[tuple[Call, Freedom]]


def find_stories(rule: RuleText, wanted: Iterable[str], seconds: float, seed: int = SEED) -> dict[str, list[str]]:
    """The shortest run found for each broken obligation, told in words. Those not found in time are left out."""
    open_ = set(wanted)
    found: dict[str, tuple[Run, Step]] = {}
    until = time.monotonic() + seconds
    number = 0
    while open_ and time.monotonic() < until:
        rng = random.Random(seed * 1_000_003 + number)
        number += 1
        run, step = _random_run(rule, rng, open_)
        if step is None:
            continue
        for name in [n for n in open_ if _is_broken(step, n)]:
            found[name] = _shortest(rule, run, name)
            open_.discard(name)
    return {name: tell(rule, run.start, _replay(rule, run), name) for name, (run, _) in found.items()}


def _is_broken(step: Step, name: str) -> bool:
    relied = step.differs.get("rely") is True and name not in WITHOUT_RELY
    return step.differs.get(name) is True and not relied


def _shapes(rule: RuleText, rng: random.Random) -> Shape:
    hot = [s for s in ALPHABET if s.name in rule.handlers or s.name in ("close", "other_reads", "other_writes")]
    return rng.choice(hot if rng.random() < 0.8 else list(ALPHABET))


def _random_run(rule: RuleText, rng: random.Random, wanted: set[str]) -> tuple[Run, Step | None]:
    sizes = plain_sizes(rule)
    state = _random_start(rule, rng)
    run = Run(state, [])
    for i in range(CALLS_MAX):
        m = Machine(dict(state), rule, sizes)
        shape = ALPHABET[0] if i == 0 else _shapes(rule, rng)
        call = random_call(rng, shape, m)
        own = {}
        if rng.random() < 0.1:
            own = {d: Oracle(-rng.choice(ERRORS), rng.randint(0, CHUNK)) for d in range(DESCRIPTIONS)}
        free = Freedom(random_oracle(rng, m), own)
        step = take_step(rule, sizes, state, call, free)
        if not step.inside:
            break
        run.calls.append((call, free))
        if any(_is_broken(step, name) for name in wanted):
            return run, step
        if step.failed or step.differs.get("rely") is True:
            break
        state = step.after
    return run, None


def _random_start(rule: RuleText, rng: random.Random) -> dict[str, Any]:
    state = start_state(rule)
    for j in range(2):
        if rng.random() < 0.7:
            state[f"n{j}"] = j
            size = state[f"i{j}.size"] = rng.randint(0, CELLS - 1)
            for c in range(size):
                state[f"i{j}.c{c}"] = rng.randrange(1, 10)
            if rng.random() < 0.05:
                state[f"i{j}.special"], state[f"i{j}.size"] = True, 0
                state |= {f"i{j}.c{c}": 0 for c in range(CELLS)}
            state[f"i{j}.covered"] = rng.random() > 0.05
    if rng.random() < 0.05:
        state["n2"] = state["n0"]
    state["reflink"] = rng.random() < 0.1
    return state


def _replay(rule: RuleText, run: Run) -> list[tuple[Call, Freedom, Step]]:
    sizes, state, out = plain_sizes(rule), run.start, []
    for call, free in run.calls:
        step = take_step(rule, sizes, state, call, free)
        out.append((call, free, step))
        state = step.after
    return out


def _breaks(rule: RuleText, run: Run, name: str) -> Step | None:
    """The last step, when the run stays inside the model, and its last call breaks what is named and no earlier one."""
    sizes, state = plain_sizes(rule), run.start
    for i, (call, free) in enumerate(run.calls):
        step = take_step(rule, sizes, state, call, free)
        last = i == len(run.calls) - 1
        if not step.inside or (not last and (step.failed or step.differs.get("rely") is True)):
            return None
        if _is_broken(step, name):
            return step if last else None
        state = step.after
    return None


def _shortest(rule: RuleText, run: Run, name: str) -> tuple[Run, Step]:
    step = _breaks(rule, run, name)
    assert step is not None
    changed = True
    while changed:
        changed = False
        for smaller in _smaller(run):
            shorter = _breaks(rule, smaller, name)
            if shorter is not None:
                run, step, changed = smaller, shorter, True
                break
    return run, step


def _smaller(run: Run) -> Iterable[Run]:
    for i in range(len(run.calls) - 1):
        yield Run(run.start, run.calls[:i] + run.calls[i + 1 :])
    for i, (call, free) in enumerate(run.calls):
        for words in _simpler_words(call):
            yield Run(run.start, [*run.calls[:i], (replace(call, words=words), free), *run.calls[i + 1 :]])
        if free.own:
            yield Run(run.start, [*run.calls[:i], (call, replace(free, own={})), *run.calls[i + 1 :]])
        if free.oracle.fail or free.oracle.short < CHUNK:
            calm = replace(free, oracle=Oracle(fresh=free.oracle.fresh))
            yield Run(run.start, [*run.calls[:i], (call, calm), *run.calls[i + 1 :]])
    for j in range(2):
        if run.start[f"n{j}"] >= 0:
            size = run.start[f"i{j}.size"]
            yield Run(run.start | {f"n{j}": -1, f"i{j}.size": 0} | {f"i{j}.c{c}": 0 for c in range(CELLS)}, run.calls)
            if size > 0:
                yield Run(run.start | {f"i{j}.size": size - 1, f"i{j}.c{size - 1}": 0}, run.calls)
    if run.start["n2"] >= 0:
        yield Run(run.start | {"n2": -1}, run.calls)
    if run.start["reflink"]:
        yield Run(run.start | {"reflink": False}, run.calls)


def _simpler_words(call: Call) -> Iterable[dict[str, Any]]:
    for word, value in call.words.items():
        if isinstance(value, Flags):
            for bit in [b for b, on in value.bits.items() if on and b != CREAT]:
                yield call.words | {word: Flags(value.bits | {bit: False})}
            if value.bits[CREAT]:
                yield call.words | {word: Flags(value.bits | {CREAT: False})}
        elif isinstance(value, Data):
            if value.good < CHUNK:
                yield call.words | {word: Data(value.cells, CHUNK)}
        elif isinstance(value, bool):
            if value:
                yield call.words | {word: False}
        elif word in ("n", "offset") and value > 0:
            yield call.words | {word: value - 1}
            if value > 1:
                yield call.words | {word: 1}

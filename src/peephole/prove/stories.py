"""Counterexamples that a person can read: a bounded search for a short run of calls after which a guarantee is broken.

The search runs the same model on plain values: random calls from states that other random calls have reached, with a
fixed seed; what is found is made minimal by leaving out what it does not need.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from peephole.prove.language import RuleText
from peephole.prove.model.alphabet import (
    ALPHABET,
    ATTRIBUTES,
    ERRORS,
    Shape,
    alphabet_of,
    plain_sizes,
    random_call,
    random_oracle,
)
from peephole.prove.model.dispatch import reaches
from peephole.prove.model.kernel import CREAT, Call, Data, Flags
from peephole.prove.model.machine import (
    CELL_MAX,
    CELLS,
    CHUNK,
    DESCRIPTIONS,
    FAR,
    IDENTITIES,
    INODES,
    Machine,
    Oracle,
    start_state,
)
from peephole.prove.model.mechanisms.attributes import table_holds
from peephole.prove.narrate import tell
from peephole.prove.notes import Run, notes_of
from peephole.prove.replay import replay
from peephole.prove.step import DISCIPLINE, WITHOUT_RELY, Freedom, Step, take_step

CALLS_MAX = 5
ENOUGH = 1500  # trials without anything new, when all that the rule says it gives up was found
FILLED = (FAR, FAR, FAR, 2, 1, 0, -5)  # cells that a window is given, or an error
NOWS = (0, 1, 5, 40)  # what the clock says, in milliseconds
SEED = 20020601  # any number: the search is repeatable


def find_stories(
    rule: RuleText,
    wanted: Iterable[str],
    trials: int,
    focus: Iterable[str] = (),
    patient: bool = True,
    first: bool = False,
) -> dict[str, list[str]]:
    """A short run for each broken obligation, told in words; those not found within so many trials are left out.

    Trials are counted, not timed, so that what is found does not depend on the machine. `wanted` holds names as in
    `Step.differs`; "discipline" stands for each of those. `focus` names calls to make, and flags to open with,
    more often than others. With `first` one story is enough. Without `patient` it ends
    when all that the rule says it gives up was found. What is noted beside the rule is tried before.
    """
    found = _noted(rule, set(wanted))
    if not (found and first) and not (_expected(rule, wanted) <= found.keys() and not patient):
        found |= find_runs(rule, set(wanted) - found.keys(), trials, focus, patient, first)
    return {name: _told(rule, run, name) for name, run in found.items()}


def find_runs(
    rule: RuleText,
    wanted: Iterable[str],
    trials: int,
    focus: Iterable[str] = (),
    patient: bool = True,
    first: bool = False,
) -> dict[str, Run]:
    """The runs of which `find_stories` tells, sought anew."""
    open_ = set(wanted)
    disciplines = DISCIPLINE in open_
    found: dict[str, Run] = {}
    pool = _Pool(rule, random.Random(SEED), frozenset(focus))
    expected = _expected(rule, open_)
    last = 0
    for trial in range(trials):
        if not open_ or (first and found) or (not patient and expected <= found.keys() and trial - last > ENOUGH):
            break
        run, step = pool.extend(open_)
        if step is None:
            continue
        if disciplines:
            open_ |= {n for n in step.differs if n.startswith(DISCIPLINE) and n not in found}
        for name in [n for n in open_ if n != DISCIPLINE and _is_broken(step, n, run.stale)]:
            found[name] = _shortest(rule, run, name)
            open_.discard(name)
            last = trial
    return found


def _expected(rule: RuleText, wanted: Iterable[str]) -> set[str]:
    """What the rule says it gives up, of what is wanted."""
    on = {f"crash {p}" for p, names in rule.relaxes_on.items() if "crash" in names}
    return {*rule.relaxes, *on} & {*wanted}


def _noted(rule: RuleText, wanted: set[str]) -> dict[str, Run]:
    """The noted runs that break what is wanted; each is made again."""
    found = {}
    for name, run in notes_of(rule).runs_of(rule).items():
        asked = name in wanted or (DISCIPLINE in wanted and name.startswith(f"{DISCIPLINE}: "))
        if asked and breaks(rule, run, name) is not None:
            found[name] = run
    return found


def _told(rule: RuleText, run: Run, name: str) -> list[str]:
    """The story in words, and what the real kernel shows of it, where it can."""
    seen = replay(rule, run.start, run.calls, name).text
    return tell(rule, run.start, _replay(rule, run), name) + ([seen] if seen else [])


def _is_broken(step: Step, name: str, stale: bool = False) -> bool:
    if stale and name != "freshness":
        return False
    relied = step.differs.get("rely") is True and name not in WITHOUT_RELY
    if name == DISCIPLINE:
        return any(n.startswith(f"{DISCIPLINE}: ") and where is True for n, where in step.differs.items())
    return step.differs.get(name) is True and not relied


def _shape(rule: RuleText, focus: frozenset[str], rng: random.Random) -> Shape:
    chance, alphabet = rng.random(), alphabet_of(rule)
    likely = [s for s in alphabet if reaches(s.name) in focus]
    if likely and rng.random() < 0.5:
        return rng.choice(likely)
    if "lacked" in rule.mechanisms and chance < 0.9:
        return rng.choice(ATTRIBUTES)
    if not rule.about_files and chance < 0.9:
        return rng.choice(alphabet[len(ALPHABET) :])
    if chance < 0.2:
        return rng.choice(alphabet)
    if rule.about_files and chance < 0.35:
        return alphabet[0]
    also = ("write", "close", "other_reads", "other_writes")
    return rng.choice(
        [s for s in alphabet[1:] if reaches(s.name) in rule.handlers or (rule.about_files and s.name in also)]
    )


class _Pool:
    """Runs that ended in states unlike each other; each trial adds one random call to one of them."""

    def __init__(self, rule: RuleText, rng: random.Random, focus: frozenset[str]) -> None:
        if rule.remembers:
            focus |= {*rule.handlers, "other_writes", "other_truncates", "link"} - {"openat"}
        if "copy_mapped" in rule.mechanisms:  # what only forwards brings it nowhere
            focus = frozenset({"pread64", "other_truncates"})
        if rule.interest:
            focus |= {*rule.handlers, "sendmsg", "thread_begins"} - {"accept4", "socket"}
        if rule.sets_bits:
            focus |= {"thread_begins", "thread_execs"}
        self.rule, self.rng, self.focus, self.sizes = rule, rng, focus, plain_sizes(rule)
        # A rule that remembers what it read has to be brought to it first.
        remembers = rule.remembers
        self.picks, self.calls_max = (8, CALLS_MAX + 2) if remembers else (2, CALLS_MAX)
        if "copy_mapped" in rule.mechanisms:
            self.picks = 40
        self.runs: list[tuple[Run, dict[str, Any]]] = []
        self.seen: set[tuple[Any, ...]] = set()

    def extend(self, wanted: set[str]) -> tuple[Run, Step | None]:
        """One more call; gives the step when it breaks something wanted."""
        rng = self.rng
        if not self.runs or rng.random() < 0.1:
            state = _random_start(self.rule, rng)
            run, shape = Run(state, []), _shape(self.rule, self.focus, rng)
            if self.rule.about_files:
                shape = alphabet_of(self.rule)[0]
        else:
            # Of a few, the one where the rule has more state: there it can go wrong.
            run, state = max(*[rng.choice(self.runs) for _ in range(self.picks)], key=self._interest)
            shape = _shape(self.rule, self.focus, rng)
            if run.stale and rng.random() < 0.7:
                handled = [s for s in alphabet_of(self.rule) if reaches(s.name) in self.rule.handlers]
                shape = rng.choice([s for s in handled if s.slots in ("d", "")])
        m = Machine(dict(state), self.rule, self.sizes)
        call = random_call(rng, shape, m, self.focus)
        own = {}
        if rng.random() < 0.1 and any(n == "error-timing" or n.startswith(DISCIPLINE) for n in wanted):
            own = {d: Oracle(-rng.choice(ERRORS), rng.randint(0, CHUNK)) for d in range(DESCRIPTIONS)}
        free = Freedom(
            random_oracle(rng, m),
            own,
            file_given=rng.random() < 0.97,
            filled=rng.choice(FILLED),
            now=rng.choice(NOWS),
            refuses=tuple(rng.random() < 0.1 for _ in range(3)),
        )
        crash = any(n.startswith("crash") for n in wanted)
        step = take_step(self.rule, self.sizes, state, call, free, crash)
        if not step.inside:
            return run, None
        run = Run(run.start, [*run.calls, (call, free)], run.stale)
        if any(_is_broken(step, name, run.stale) for name in wanted):
            return run, step
        old = step.differs.get("rely") is True
        if old and "freshness" in wanted and self.rule.remembers:
            run.stale, old = True, False
        if not step.failed and not old and len(run.calls) < self.calls_max:
            sign = (run.stale, *_signature(step.after))
            if sign not in self.seen:
                self.seen.add(sign)
                self.runs.append((run, step.after))
        return run, None

    def _interest(self, known: tuple[Run, dict[str, Any]]) -> int:
        run, state = known
        kept = sum(state[f"d{d}.h"] + (state[f"d{d}.len"] > 0) for d in range(DESCRIPTIONS))
        telling = [".f."] if self.rule.interest or "copy_mapped" in self.rule.mechanisms else []
        telling += [".known", ".waits"] if self.rule.about_actions else []
        if "table.there" in state:  # above all where what the table says is not so
            kept += 2 * state["table.there"] + state["seen.known"] + 5 * (table_holds(state) is False)
        return int(kept) + run.stale + sum(bool(v) for k, v in state.items() if any(t in k for t in telling))


def states_reached(rule: RuleText, rng: random.Random, trials: int) -> list[dict[str, Any]]:
    """States unlike each other that random runs of the rule have reached."""
    pool = _Pool(rule, rng, frozenset())
    for _ in range(trials):
        pool.extend(set())
    return [state for _, state in pool.runs]


def _signature(state: dict[str, Any]) -> tuple[Any, ...]:
    """What makes two states alike: the descriptions, the rule's fields and the files' sizes, not their cells."""
    cells = (".c0", ".c1", ".c2", ".c3", ".b0", ".b1", ".b2", ".touched", ".lock")
    return tuple(v for k, v in state.items() if not k.endswith(cells))


def _random_start(rule: RuleText, rng: random.Random) -> dict[str, Any]:
    state = start_state(rule)
    for j in range(2):
        if rng.random() < (0.85, 0.5)[j]:
            state[f"n{j}"] = j
            size = state[f"i{j}.size"] = rng.randint(0, CELLS - 1)
            for c in range(size):
                state[f"i{j}.c{c}"] = rng.randrange(1, CELL_MAX + 1)
            if rng.random() < 0.03:
                state[f"i{j}.special"], state[f"i{j}.size"] = True, 0
                state |= {f"i{j}.c{c}": 0 for c in range(CELLS)}
            state[f"i{j}.covered"] = rng.random() > 0.03
    if rng.random() < 0.05:
        state["n2"] = state["n0"]
    if "clock" in state:
        for i in range(INODES):
            state |= {f"i{i}.a{a}": rng.random() < 0.3 for a in range(2)}
            state[f"i{i}.changed"] = rng.randint(1, state["clock"])
        if rng.random() < 0.3:
            state["n0"], state["i0.link"] = 0, 1
    if rule.process:
        for name in IDENTITIES:
            state[f"t0.{name}"] = state[f"t1.{name}"] = rng.randint(0, 2)
        state["t.mapped"] = rng.random() < 0.7
    state["reflink"] = rng.random() < (0.5 if "ioctl" in rule.handlers else 0.1)
    return state


def _replay(rule: RuleText, run: Run) -> list[tuple[Call, Freedom, Step]]:
    sizes, state, out = plain_sizes(rule), run.start, []
    for call, free in run.calls:
        step = take_step(rule, sizes, state, call, free)
        out.append((call, free, step))
        state = step.after
    return out


def breaks(rule: RuleText, run: Run, name: str) -> Step | None:
    """The last step, when the run stays inside the model, and its last call breaks what is named and no earlier one."""
    sizes, state = plain_sizes(rule), run.start
    for i, (call, free) in enumerate(run.calls):
        step = take_step(rule, sizes, state, call, free, crash=name.startswith("crash"))
        last = i == len(run.calls) - 1
        old = step.differs.get("rely") is True and name != "freshness"
        if not step.inside or (not last and (step.failed or old)):
            return None
        if _is_broken(step, name):
            return step if last else None
        state = step.after
    return None


def _shortest(rule: RuleText, run: Run, name: str) -> Run:
    changed = True
    while changed:
        changed = False
        for smaller in _smaller(run):
            if breaks(rule, smaller, name) is not None:
                run, changed = smaller, True
                break
    return run


def _smaller(run: Run) -> Iterable[Run]:
    for i in range(len(run.calls) - 1):
        yield Run(run.start, run.calls[:i] + run.calls[i + 1 :])
    for i, (call, free) in enumerate(run.calls):
        for words in _simpler_words(call):
            yield Run(run.start, [*run.calls[:i], (replace(call, words=words), free), *run.calls[i + 1 :]])
        if free.own:
            yield Run(run.start, [*run.calls[:i], (call, replace(free, own={})), *run.calls[i + 1 :]])
        if any(free.refuses):
            yield Run(run.start, [*run.calls[:i], (call, replace(free, refuses=(False,) * 3)), *run.calls[i + 1 :]])
        if free.filled != FAR or free.now != 0:
            yield Run(run.start, [*run.calls[:i], (call, replace(free, filled=FAR, now=0)), *run.calls[i + 1 :]])
        if free.file_given is not True:
            yield Run(run.start, [*run.calls[:i], (call, replace(free, file_given=True)), *run.calls[i + 1 :]])
        if free.oracle != Oracle(fresh=free.oracle.fresh):
            calm = replace(free, oracle=Oracle(fresh=free.oracle.fresh))
            yield Run(run.start, [*run.calls[:i], (call, calm), *run.calls[i + 1 :]])
    for j in range(2):
        if run.start[f"n{j}"] >= 0:
            size = run.start[f"i{j}.size"]
            yield Run(run.start | {f"n{j}": -1, f"i{j}.size": 0} | {f"i{j}.c{c}": 0 for c in range(CELLS)}, run.calls)
            if size > 0:
                yield Run(run.start | {f"i{j}.size": size - 1, f"i{j}.c{size - 1}": 0}, run.calls)
    if not run.start.get("t.mapped", True):
        yield Run(run.start | {"t.mapped": True}, run.calls)
    if run.start["n2"] >= 0:
        yield Run(run.start | {"n2": -1}, run.calls)
    if run.start["reflink"]:
        yield Run(run.start | {"reflink": False}, run.calls)


def _simpler_words(call: Call) -> Iterable[dict[str, Any]]:
    for word, value in call.words.items():
        if isinstance(value, Flags):
            for bit in [b for b, on in value.bits.items() if on and b != CREAT]:
                yield call.words | {word: Flags(value.bits | {bit: False})}
            if value.bits.get(CREAT):
                yield call.words | {word: Flags(value.bits | {CREAT: False})}
        elif isinstance(value, Data):
            if value.good != CHUNK:
                yield call.words | {word: Data(value.cells, CHUNK)}
        elif isinstance(value, bool):
            if value:
                yield call.words | {word: False}
        elif word in ("n", "offset") and isinstance(value, int) and value > 0:
            yield call.words | {word: value - 1}
            if value > 1:
                yield call.words | {word: 1}

"""One call seen twice: with the rule in place, and by an ideal kernel alone; and what differs.

The reference state is derived, not written: it is what the rule's own settle makes of its state, on an ideal kernel.
So a step from any state of the rule's side says whether the two stay related: settle(on') must equal off'. The same
function runs on terms, for the proof, and on plain values, for stories and random search.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from peephole.prove.language import RuleText
from peephole.prove.model.dispatch import dispatch, kind_of
from peephole.prove.model.kernel import Call
from peephole.prove.model.machine import (
    CELLS,
    DESCRIPTIONS,
    FAR,
    IDEAL,
    INODES,
    NAMES,
    Machine,
    Oracle,
    Sizes,
    files_of,
    kernel_keys,
)
from peephole.prove.model.mechanisms import pending, seen_changes, settle_all, settle_owed
from peephole.prove.model.mechanisms.examined import is_so
from peephole.prove.model.terms import Bool, Num, Term, and_, eq, iff, implies, ite, lt, not_, or_

SYNCS = ("fsync", "fdatasync")
WRITES = ("write", "writev", "pwrite64", "copy_file_range", "opaque")
#: calls by which others learn how far our process is, or which wait for others
COMMUNICATES = ("poll", "kill", "sendto", "futex", "wait4", "sync", "fork", "execve", "exit_group")


@dataclass
class Freedom:
    """What is left open in a step: the kernel's choices for the call and for the rule's own calls."""

    oracle: Oracle = IDEAL
    own: dict[int, Oracle] = field(default_factory=dict)
    file_given: Bool = True
    new_slot: int | None = None
    filled: Num = FAR  # how many cells a fill of a window gets, or an error
    now: Num = 0  # what the clock says
    refuses: tuple[Bool, ...] = ()  # which of the rule's own calls on names fail


@dataclass
class Step:
    """What one call did on both sides."""

    before: dict[str, Any]
    after: dict[str, Any]  # the rule's side
    reference: dict[str, Any]  # off, after the call
    settled: dict[str, Any]  # the rule's side, after everything was made good
    result: Num
    reference_result: Num
    out: dict[str, Any]
    reference_out: dict[str, Any]
    inside: Bool  # neither side left the model's bounds
    failed: Bool  # a call of the rule's own failed
    differs: dict[str, Bool]  # obligation or guarantee -> where it is broken
    parts: dict[str, list[Bool]] = field(default_factory=dict)  # the same in smaller pieces, each a query of its own
    elided: Bool = False  # a sync has returned, and settling does not make it
    overtaken: Bool = False  # a file is changed again before a sync of it that has returned is made


#: Obligations that no guarantee can excuse: they are checked on every call, under these names.
DISCIPLINE = "discipline"
#: What is asked even where another process touched what is pending; all else assumes that it did not.
WITHOUT_RELY = ("atomicity", "append-atomicity", "contents")


def take_step(
    rule: RuleText, sizes: Sizes, before: dict[str, Any], call: Call, free: Freedom, crash: bool = True
) -> Step:
    """Run one call on both sides and compare; without `crash`, what a crash may leave is not looked at."""
    before = {k: False if k.endswith(".touched") else v for k, v in before.items()}
    start = _machine(rule, sizes, before, free, crash)
    make_good(start, rule)
    start.state.update({k: False for k in start.state if k.endswith(".touched")})

    on = _machine(rule, sizes, before, free, crash)
    on.own = free.own
    result = dispatch(on, call, free.oracle)

    choice = free.oracle
    told = Oracle(ite(on.forwarded, choice.fail, 0), ite(on.forwarded, choice.short, FAR), choice.fresh)
    off = _machine(None, sizes, start.state, free, crash)
    off.told = on.known
    reference_result = dispatch(off, call, told)

    end = _machine(rule, sizes, on.state, free, crash)
    make_good(end, rule)

    step = Step(
        before, on.state, off.state, end.state, result, reference_result, on.out, off.out,
        not_(or_(start.beyond, on.beyond, off.beyond, end.beyond)), on.failed, {},
    )  # fmt: skip
    _compare(step, rule, call, start, on, off, end)
    return step


def take_interrupted(
    rule: RuleText, sizes: Sizes, before: dict[str, Any], opening: Call, other: Call, free: Freedom
) -> tuple[Bool, Bool]:
    """A call of another thread, or of a signal handler, in the middle of an open: it must be as if before or after.

    Every other handler runs with nothing in between (docs/rule-language.md, 6). Gives where the run stays inside the
    model, and where neither order explains it.
    """
    start = _machine(rule, sizes, before, free, False)
    make_good(start, rule)
    on = _machine(rule, sizes, before, free, False)
    heard: dict[str, Any] = {}

    def interrupt(m: Machine) -> None:
        out, forwarded, m.out = m.out, m.forwarded, {}
        heard["result"] = ite(m.guard, dispatch(m, other, IDEAL), heard.get("result", 0))
        for k, v in m.out.items():
            heard[k] = ite(m.guard, v, heard.get(k, 0))
        m.out, m.forwarded = out, forwarded

    on.interrupt = interrupt
    result = dispatch(on, opening, free.oracle)
    end = _machine(rule, sizes, on.state, free, False)
    make_good(end, rule)
    inside = [start.beyond, on.beyond, end.beyond]
    explained: Bool = False
    for order in ((opening, other), (other, opening)):
        off = _machine(None, sizes, start.state, free, False)
        seen: dict[str, Any] = {}
        for call in order:
            off.out = {}
            r = dispatch(off, call, free.oracle if call is opening else IDEAL)
            if call is opening:
                opened = r
            else:
                seen = {**off.out, "result": r}
        keys = [k for k in kernel_keys(off.state) if k[0] in "ni" or k.endswith(".refs")]
        for d in range(DESCRIPTIONS):
            is_open = lt(0, off.d(d, "refs"))
            fields = [k for k in kernel_keys(off.state) if k.startswith(f"d{d}.")]
            explained_d = implies(is_open, not_(_unlike(end.state, off.state, fields)))
            seen[f"description {d}"], heard[f"description {d}"] = explained_d, True
        answers = [same(heard.get(k, 0), v) for k, v in seen.items()]
        fits = and_(eq(result, opened), not_(_unlike(end.state, off.state, keys)), *answers)
        explained = or_(explained, fits)
        inside.append(off.beyond)
    return not_(or_(*inside)), and_(on.forwarded, not_(explained))


def make_good(m: Machine, rule: RuleText) -> None:
    """Everything that is put off, syncs too."""
    settle_all(m, rule)
    settle_owed(m, rule)


def _machine(rule: RuleText | None, sizes: Sizes, state: dict[str, Any], free: Freedom, record: bool) -> Machine:
    m = Machine(dict(state), rule, sizes, file_given=free.file_given, new_slot=free.new_slot, record=record)
    m.filled, m.now, m.refuses = free.filled, free.now, free.refuses
    m.snapshot()
    return m


def same(a: Any, b: Any) -> Bool:
    """Whether two values, numbers or truth values, are equal."""
    if not isinstance(a, Term) and not isinstance(b, Term):
        return bool(a == b)
    if _is_truth(a) or _is_truth(b):
        return iff(a, b)
    return eq(a, b)


def _is_truth(a: Any) -> bool:
    return isinstance(a, bool) or getattr(a, "op", "") in ("bool", "not", "and", "eq", "lt", "bite")


def _unlike(a: dict[str, Any], b: dict[str, Any], keys: list[str]) -> Bool:
    return not_(and_(*[same(a[k], b[k]) for k in keys]))


def _group(key: str) -> str:
    """Which guarantee speaks of a key of the kernel's state."""
    if key.endswith(".ino"):
        return "identity"
    if key.endswith(".lock"):
        return "locking"
    return "results" if key[0] in "dt" else "contents"


def _compare(step: Step, rule: RuleText, call: Call, start: Machine, on: Machine, off: Machine, end: Machine) -> None:
    out = step.differs
    unlike: dict[str, list[Bool]] = {group: [] for group in ("results", "contents", "identity", "locking")}
    for k in kernel_keys(step.after):
        if k == "reflink" or end.state[k] is off.state[k]:
            continue
        differs = not_(same(end.state[k], off.state[k]))
        if k[0] == "d" and not k.endswith(".refs"):
            # A description that is closed on both sides has no fields left to compare.
            differs = and_(lt(0, off.state[k.split(".")[0] + ".refs"]), differs)
        unlike[_group(k)].append(differs)
    heard = sorted((set(on.out) | set(off.out)) - {"read"})
    answer = or_(
        not_(eq(step.result, step.reference_result)),
        *[not_(same(on.out.get(k, 0), off.out.get(k, 0))) for k in heard],
    )
    healthy = not_(on.failed)
    relation = or_(*[b for group in unlike.values() for b in group])
    if call.by == "other":
        _compare_other(step, rule, call, start, answer, relation)
    else:
        out["results"] = and_(healthy, or_(answer, *unlike["results"]))
        out["freshness"] = and_(healthy, not_(on.forwarded), answer)
        for group in ("contents", "identity", "locking"):
            out[group] = and_(healthy, or_(*unlike[group]))
        _compare_durable(step, call, on, off)
        _compare_synced(step, call, start, on, off, end)
    if start.record:
        _compare_crash(step, start, on, off, end)
    if on.names_passed:
        _compare_names(step, start, on, off)
    now = _unlike(on.state, off.state, list(files_of(on.state)))
    names = [k for k in on.state if k[0] == "n"]
    out["survival"] = and_(healthy, or_(now, _unlike(on.state, off.state, names)))
    read = not_(same(on.out.get("read", 0), off.out.get("read", 0)))
    out["timestamps"] = and_(healthy, or_(_unlike(on.state, off.state, keys_touched(on.state)), read))
    out["resources"] = and_(healthy, or_(*[lt(off.state[f"i{i}.size"], on.state[f"i{i}.size"]) for i in range(INODES)]))
    out["error-timing"] = or_(on.failed_in_settle, and_(healthy, step.elided))
    out["timing"] = and_(healthy, or_(on.later, not_(eq(on.asleep, off.asleep))))
    _compare_pipes(step, on, off)
    kept = or_(*[not_(eq(on.state[f"d{d}.err"], 0)) for d in range(DESCRIPTIONS)])
    out[f"{DISCIPLINE}: a failure of the rule's own calls is never silent"] = and_(
        on.failed, not_(lt(step.result, 0)), not_(kept)
    )
    for m in (start, on, end):
        for name, where in m.wrong.items():
            key = f"{DISCIPLINE}: {name}"
            out[key] = or_(out.get(key, False), where)
    if rule.interest:
        kept_back = or_(*[pending(on, rule, d) for d in range(DESCRIPTIONS)])
        out[f"{DISCIPLINE}: nothing is pending that another thread may wait for"] = and_(on.state["threads"], kept_back)
    if call.by == "us" and call.name in COMMUNICATES and kind_of(call.name) != "INERT":
        left = or_(*[pending(on, rule, d) for d in range(DESCRIPTIONS)])
        out[f"{DISCIPLINE}: nothing is pending across a call that may block or communicate"] = left


def keys_touched(state: dict[str, Any]) -> list[str]:
    return [k for k in state if k.endswith(".touched")]


def _compare_pipes(step: Step, on: Machine, off: Machine) -> None:
    """What was read of a pipe and not taken out of it fills it: who writes may have to wait."""
    behind = [and_(on.is_pipe(d), lt(on.d(d, "pos"), off.d(d, "pos"))) for d in range(DESCRIPTIONS)]
    for name in ("resources", "timing"):
        step.differs[name] = or_(step.differs[name], and_(not_(on.failed), or_(*behind)))


def _compare_other(step: Step, rule: RuleText, call: Call, start: Machine, answer: Bool, relation: Bool) -> None:
    """What another process does. Relaxing atomicity is a rely: others then leave alone what is pending."""
    out = step.differs
    if call.name in ("other_reads", "other_waits"):
        out["visibility"] = answer
    known = [k for k in step.before if k.startswith("absent.") and call.by == "other"]
    if known:
        changed = [not_(same(step.before[f"n{k[7:]}"], step.after[f"n{k[7:]}"])) for k in known]
        out["rely"] = or_(*[and_(step.before[k], c) for k, c in zip(known, changed, strict=True)])
    if "known.0" in step.before:
        was, now = ([is_so(s, j) for j in range(NAMES)] for s in (step.before, step.after))
        out["rely"] = or_(*[and_(a, not_(b)) for a, b in zip(was, now, strict=True)])
    if "seen.known" in step.before:
        out["rely"] = seen_changes(step.before, step.after)
    if call.name not in ("other_writes", "other_truncates"):
        out["results"] = and_(call.name not in ("other_reads", "other_waits"), answer)
        out["contents"] = relation
        return
    before = Machine(dict(step.before), rule, start.sizes)
    touches: Bool = False
    appends: Bool = False
    for d in range(DESCRIPTIONS):
        # What is written to a pipe comes behind all that was looked at.
        hit = and_(pending(before, rule, d), eq(before.d(d, "ino"), call["inode"]), not_(before.is_pipe(d)))
        touches = or_(touches, hit)
        appends = or_(appends, and_(hit, start.d(d, "app")))
    out["append-atomicity"] = and_(appends, relation)
    out["atomicity"] = and_(touches, not_(appends), relation)
    out["contents"] = and_(not_(touches), relation)
    # Not an obligation: where the invariant may be lost to the other's change.
    out["rely"] = or_(out.get("rely", False), touches)


def _compare_durable(step: Step, call: Call, on: Machine, off: Machine) -> None:
    """When a sync has returned, what the file held then must be with the kernel, and the sync must have been made."""
    syncing: Bool = call.name in SYNCS
    if call.name in WRITES:
        syncing = and_(step.before[f"d{call.slot}.sync"], lt(0, step.result))
    if syncing is False:
        return
    completed = and_(syncing, not_(lt(step.result, 0)))
    unlike = []
    for i in range(INODES):
        here = and_(eq(step.before[f"d{call.slot}.ino"], i), lt(0, step.before[f"d{call.slot}.refs"]))
        fields = [f"i{i}.size"] + [f"i{i}.c{c}" for c in range(CELLS)]
        unlike.append(and_(here, _unlike(on.state, off.state, fields)))
    owed = [and_(on.state[f"i{i}.dirty"], not_(off.state[f"i{i}.dirty"])) for i in range(INODES)]
    step.differs["durability"] = and_(completed, or_(*owed, *unlike))


def _compare_synced(step: Step, call: Call, start: Machine, on: Machine, off: Machine, end: Machine) -> None:
    """Syncs that have returned: whether they are ever made, and before what follows them.

    A file owes a sync where the original has it on the disk and the rule's side has not.
    """
    done = and_(not_(on.failed), not_(lt(step.result, 0)) if call.name in SYNCS else True)

    def owes(one: Machine, other: Machine, i: int) -> Bool:
        return and_(one.state[f"i{i}.dirty"], not_(other.state[f"i{i}.dirty"]))

    step.elided = and_(done, or_(*[owes(end, off, i) for i in range(INODES)]))
    effects: list[Bool] = []
    again: list[Bool] = []
    before = Machine(dict(step.before))
    names = _unlike(step.before, on.state, [k for k in on.state if k[0] == "n"])
    for i in range(INODES):
        owed = owes(on, off, i)
        others = or_(*[on.state[f"i{j}.touched"] for j in range(INODES) if j != i], names)
        effects.append(and_(not_(on.failed), owed, others))
        again.append(and_(owes(before, start, i), on.state[f"i{i}.touched"], on.state[f"i{i}.dirty"]))
    step.overtaken = or_(*again)
    step.differs["ordering"] = or_(step.elided, *effects)


def _compare_crash(step: Step, start: Machine, on: Machine, off: Machine, end: Machine) -> None:
    """Every state that was passed, and every state of settling, must be one that the original passed or would pass."""
    allowed = start.snapshots + off.snapshots
    passed = on.snapshots + end.snapshots
    every = list(files_of(step.before))
    step.differs["crash sequential"] = _stray(passed, allowed, every)
    one_by_one = [_stray(passed, allowed, [f"i{i}.size"] + [f"i{i}.c{c}" for c in range(CELLS)]) for i in range(INODES)]
    # Blocks of one file that are overwritten in place reach the disk in any order.
    step.differs["crash ext4-ordered"] = or_(step.elided, step.overtaken, *one_by_one)
    step.parts["crash ext4-ordered"] = [*one_by_one, step.elided, step.overtaken]
    # Nothing is promised before a sync. After one, what follows must not be on the disk without what came before.
    step.differs["crash weak"] = or_(step.elided, step.overtaken)


def _compare_names(step: Step, start: Machine, on: Machine, off: Machine) -> None:
    """A call made of several effects on names: others, and a crash, can come between, and see what never was."""
    names = [k for k in start.state if k[0] == "n"]
    stray = _stray(on.names_passed, [(True, start.state), (True, off.state)], names)
    seen = and_(not_(on.failed), stray)
    for name in ("visibility", "atomicity", *[k for k in step.differs if k.startswith("crash")]):
        step.differs[name] = or_(step.differs.get(name, False), seen)
        if name in step.parts:
            step.parts[name] = [*step.parts[name], seen]


def _stray(
    passed: list[tuple[Bool, dict[str, Any]]], allowed: list[tuple[Bool, dict[str, Any]]], keys: list[str]
) -> Bool:
    found: Bool = False
    known: list[tuple[Bool, tuple[Any, ...]]] = [(g, tuple(s[k] for k in keys)) for g, s in allowed]
    seen = set()
    for guard, snapshot in passed:
        values = tuple(snapshot[k] for k in keys)
        key = (getattr(guard, "id", guard), tuple(getattr(v, "id", ("#", v)) for v in values))
        if key in seen:
            continue
        seen.add(key)
        among = or_(*[and_(g, *[same(a, b) for a, b in zip(values, v, strict=True)]) for g, v in known])
        found = or_(found, and_(guard, not_(among)))
    return found


__all__ = ["DISCIPLINE", "WITHOUT_RELY", "Freedom", "Step", "implies", "same", "take_interrupted", "take_step"]

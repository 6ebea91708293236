"""Replays a counterexample on the real kernel: the original's calls in one folder, the rule's in another.

What the model said of each call must be what the kernel says, on both sides; then the two must differ as the story
tells. What a crash leaves, what a failing disk answers, and times are not shown.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peephole.prove.language import RuleText
from peephole.prove.model.alphabet import plain_sizes
from peephole.prove.model.dispatch import dispatch
from peephole.prove.model.kernel import Call
from peephole.prove.model.machine import CHUNK, DESCRIPTIONS, FAR, INODES, NAMES, Machine, Sizes
from peephole.prove.real import FILE_NAMES, Real
from peephole.prove.step import Freedom, make_good

#: what a kernel can show, and whether everything is made good before one looks
SHOWN = {"results": True, "freshness": False, "visibility": False, "survival": False, "contents": True}
SHOWN |= {"atomicity": True, "append-atomicity": True}
_OTHERS = ("other_reads", "other_writes", "other_truncates")


@dataclass(frozen=True)
class Replay:
    """`shown`: the kernel does as the story tells; None where it can't be asked here."""

    shown: bool | None
    text: str


class _CannotShow(Exception):
    """Something in the run that a test can't bring about."""


class _Disagrees(Exception):
    """The kernel answers otherwise than the model."""


def replay(rule: RuleText, start: dict[str, Any], calls: Sequence[tuple[Call, Freedom]], broken: str) -> Replay:
    """Run a story's calls both ways in a scratch folder, which is removed."""
    if broken not in SHOWN or rule.streams or rule.pipes or rule.process or not rule.about_files:
        return Replay(None, "")
    scratch = Path(tempfile.mkdtemp(prefix="peephole-replay-"))
    try:
        seen = [_run(one, rule, start, calls, SHOWN[broken], scratch) for one in (None, rule)]
    except _CannotShow:
        return Replay(None, "")
    except _Disagrees as e:
        return Replay(False, f"this kernel does otherwise: {e}")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    original, ours = seen
    for what in original:
        if original[what] != ours[what]:
            return Replay(
                True, f"seen on this kernel: {what} {_say(ours[what])}; in the original {_say(original[what])}"
            )
    return Replay(False, "this kernel shows no difference")


def _say(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_say(v)}" for k, v in value.items()) or "none"
    return (value.hex() or "nothing") if isinstance(value, bytes) else str(value)


def _run(
    one: RuleText | None,
    rule: RuleText,
    start: dict[str, Any],
    calls: Sequence[tuple[Call, Freedom]],
    settled: bool,
    scratch: Path,
) -> dict[str, Any]:
    """One side: the last call's answer, what it wrote into memory, and the files after it."""
    ahead = "fill" in rule.mechanisms and any(free.filled != FAR for _, free in calls)
    if any(start[f"i{i}.special"] for i in range(INODES)) or start["reflink"] or ahead:
        raise _CannotShow
    folder = scratch / ("original" if one is None else "rule")
    folder.mkdir()
    real, state = Real(folder), start
    real.lay(start)
    try:
        for call, free in calls:
            m = _machine(state, one, plain_sizes(rule), free)
            result, out = _step(real, m, call, free)
            state = m.state
        if settled and one is not None:
            end = _machine(state, one, plain_sizes(rule), Freedom())
            make_good(end, one)
            _follow(real, end)
        return {"the answer": result, "the memory": out, "the files": real.files(), "offsets and flags": real.told()}
    finally:
        real.close()


def _machine(state: dict[str, Any], rule: RuleText | None, sizes: Sizes, free: Freedom) -> Machine:
    m = Machine(dict(state), rule, sizes, file_given=free.file_given)
    m.filled, m.now, m.log = free.filled, free.now, []
    return m


def _step(real: Real, m: Machine, call: Call, free: Freedom) -> tuple[Any, Any]:
    oracle: Any = free.oracle  # plain numbers
    plain = oracle.fail == 0 and oracle.short >= CHUNK and not any(free.refuses)
    whole = "data" not in call.words or call["data"].good == CHUNK
    if not plain or not whole or call.words.get("good", CHUNK) < CHUNK:
        raise _CannotShow
    if call.by == "other":
        if call.name not in _OTHERS:
            raise _CannotShow
        seen = real.another(call, _path_of(real, m.state, call["inode"]))
        dispatch(m, call, free.oracle)
        return 0, seen
    if call.by != "us":
        raise _CannotShow
    result: Any = dispatch(m, call, free.oracle)
    seen = _follow(real, m)
    told = {k: v for k, v in m.out.items() if k.startswith("byte") or k in ("size", "links")} if result >= 0 else {}
    return result, told if m.rule is not None else {k: seen[k] for k in told if k in seen}


def _path_of(real: Real, state: dict[str, Any], inode: int) -> Path:
    """A path to a file: by a name, or by a descriptor."""
    for j in range(NAMES):
        if state[f"n{j}"] == inode:
            return real.folder / FILE_NAMES[j]
    for d in range(DESCRIPTIONS):
        if real.fds[d] and state[f"d{d}.ino"] == inode:
            return Path(f"/proc/self/fd/{real.fds[d][0]}")
    raise _CannotShow


def _follow(real: Real, m: Machine) -> dict[str, Any]:
    """Make the calls that the model has made; gives what the last one wrote into memory."""
    out: dict[str, Any] = {}
    assert m.log is not None
    for call, slot, said in m.log:
        try:
            got, out = real.perform(call, slot)
        except NotImplementedError:
            raise _CannotShow from None
        if got != said:
            raise _Disagrees(f"{call.name} gives {got}, the model says {said}")
    return out


__all__ = ["Replay", "replay"]

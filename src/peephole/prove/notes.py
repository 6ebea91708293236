"""What earlier proofs of a rule have found, kept beside it in notes.json: its invariant, and runs that break something.

Only what takes long to find is noted; nothing of it is believed. The invariant is proved to be kept by every call, and
a run is made again in the model. Where a note fits no longer, a proof looks anew; `python -m peephole.prove.notes
FOLDER...` writes what is found then (docs/howto-add-a-rule.md).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peephole.prove.language import RuleText, load_rule, rule_names
from peephole.prove.model.alphabet import alphabet_of, plain_sizes
from peephole.prove.model.kernel import NOFOLLOW, OPEN_BITS, Call, Data, Flags
from peephole.prove.model.machine import Oracle, start_state, well_formed
from peephole.prove.step import Freedom

FILE = "notes.json"
RULE = "rule"  # the key of its own runs; neighbours stand under their files' names
#: what a run may begin with: files and names, and who the process is; nothing is open
_GIVEN = ("n", "i", "t", "r")


@dataclass
class Run:
    """A first state and the calls made from it."""

    start: dict[str, Any]
    calls: list[tuple[Call, Freedom]]
    stale: bool = False  # another process has changed what is remembered: only what is told of it can be old


@dataclass(frozen=True)
class Notes:
    """`runs[FILE][GUARANTEE]`, as JSON has them; see `runs_of`."""

    invariant: tuple[str, ...] = ()
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def runs_of(self, rule: RuleText, key: str | None = None) -> dict[str, Run]:
        """The noted runs of a rule, or of a neighbour, by what they break; without those that it can't make.

        With a key those that are noted under it, for a rule that is none of them.
        """
        found = {}
        for name, raw in self.runs.get(key or _key(rule), {}).items():
            try:
                run = _decoded(rule, raw)
            except (KeyError, TypeError, ValueError):
                continue
            if run is not None:
                found[name] = run
        return found


def notes_of(rule: RuleText) -> Notes:
    """What is noted beside a rule, or beside the rule whose neighbour this is; empty where nothing is."""
    try:
        raw = json.loads(_place(rule).read_text())
        return Notes(tuple(map(str, raw["invariant"])), {str(k): dict(v) for k, v in raw["runs"].items()})
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return Notes()


def _place(rule: RuleText) -> Path:
    folder = rule.path.parent
    return (folder.parent if folder.name == "refuted" else folder) / FILE


def _key(rule: RuleText) -> str:
    return rule.path.stem if rule.path.parent.name == "refuted" else RULE


def _encoded(rule: RuleText, run: Run) -> dict[str, Any]:
    first = start_state(rule)
    start = {k: v for k, v in run.start.items() if first.get(k) != v}
    return {"start": start, "calls": [_call_to(c) | _freedom_to(f) for c, f in run.calls]}


#: what is left out, being the same in most calls
_CALL: dict[str, Any] = {"slot": -1, "other": -1, "by": "us", "words": {}}


def _call_to(call: Call) -> dict[str, Any]:
    words: dict[str, Any] = {}
    for word, value in call.words.items():
        if isinstance(value, Flags):
            words[word] = [b for b, on in value.bits.items() if on]
        else:
            words[word] = [list(value.cells), value.good] if isinstance(value, Data) else value
    said = {"name": call.name, "slot": call.slot, "other": call.other, "by": call.by, "words": words}
    return {k: v for k, v in said.items() if v != _CALL.get(k)}


def _freedom_to(free: Freedom) -> dict[str, Any]:
    said = {
        "own": {d: [o.fail, o.short] for d, o in free.own.items()},
        "refuses": list(free.refuses) if any(free.refuses) else [],
    }
    said |= {name: getattr(free, name) for name in ("file_given", "filled", "now")}
    said["oracle"] = [free.oracle.fail, free.oracle.short, free.oracle.fresh]
    plain = {"own": {}, "refuses": [], "oracle": [0, Oracle.short, 0]}
    return {k: v for k, v in said.items() if v != plain.get(k, getattr(Freedom, k, None))}


def _decoded(rule: RuleText, raw: dict[str, Any]) -> Run | None:
    """None where it does not begin as runs do, or holds a call that the rule's alphabet lacks."""
    start = start_state(rule)
    if not all(k in start and k[0] in _GIVEN and isinstance(v, int) for k, v in raw["start"].items()):
        return None
    start |= raw["start"]
    if well_formed(start, plain_sizes(rule), rule.alone) is not True:
        return None
    known = {(s.name, s.by) for s in alphabet_of(rule)}
    calls = [(_call_from(c), _freedom_from(c)) for c in raw["calls"]]
    return Run(start, calls) if all((c.name, c.by) in known for c, _ in calls) else None


def _call_from(raw: dict[str, Any]) -> Call:
    raw = _CALL | raw
    words = dict(raw["words"])
    if "flags" in words:
        bits = (NOFOLLOW,) if raw["name"] == "statx" else OPEN_BITS
        words["flags"] = Flags({b: b in words["flags"] for b in bits})
    if "data" in words:
        cells, good = words["data"]
        words["data"] = Data(tuple(cells), good)
    return Call(raw["name"], raw["slot"], raw["other"], words, raw["by"])


def _freedom_from(raw: dict[str, Any]) -> Freedom:
    free = Freedom(Oracle(*raw.get("oracle", ())))
    free.own = {int(d): Oracle(*two) for d, two in raw.get("own", {}).items()}
    free.refuses = tuple(raw.get("refuses", ()))
    for name in ("file_given", "filled", "now"):
        setattr(free, name, raw.get(name, getattr(free, name)))
    return free


def write_notes(
    rule: RuleText, invariant: Iterable[str], found: Mapping[str, tuple[RuleText, Mapping[str, Run]]]
) -> None:
    """Write the notes of a rule; `found` holds the rule's runs under RULE, and those of its neighbours."""
    runs = {key: {n: _encoded(one, run) for n, run in sorted(by.items())} for key, (one, by) in found.items()}
    lines = [f"{json.dumps(key)}: {json.dumps(by)}" for key, by in runs.items()]
    text = f'{{"invariant": {json.dumps(list(invariant), indent=1)},\n"runs": {{\n' + ",\n".join(lines) + "\n}}\n"
    _place(rule).write_text(text)


def main(names: list[str]) -> None:
    """Look anew for all that a proof of these rules needs, and note it."""
    from peephole.prove.certificate import look_anew

    for name in names or rule_names():
        rule = load_rule(name)
        write_notes(rule, *look_anew(rule))


if __name__ == "__main__":
    main(sys.argv[1:])


__all__ = ["RULE", "Notes", "Run", "notes_of", "write_notes"]

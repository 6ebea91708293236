"""Certificates: what was proved of one text of one rule, against one version of the model and of calls.def.

Kept as private files below XDG_CACHE_HOME/peephole/proofs, one for each digest of all that the proof rests on; those of
the rules that come with Peephole also lie beside them, made by the build (ship.py). A file that neither the caller nor
root owns, or that others could have written, is not read; one that was changed or cut off is an error.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from peephole.errors import RuleError
from peephole.prove.calls import table_path
from peephole.prove.language import RuleText, load_rule, neighbours_of, rule_path
from peephole.prove.model.alphabet import Shape, alphabet_of, opaque_calls
from peephole.prove.model.kernel import EXCLUDED
from peephole.prove.model.machine import BOUNDS
from peephole.prove.notes import RULE, Run, notes_of
from peephole.prove.obligations import (
    INVARIANT_KEPT,
    CallProof,
    find_invariant,
    interrupting,
    labels_of,
    prove_call,
    prove_interrupted,
)
from peephole.prove.step import DISCIPLINE
from peephole.prove.stories import find_runs, find_stories
from peephole.prove.vocabulary import GUARANTEES, PROFILES
from peephole.prove.workers import PROVING, Workers, workers

VERSION = 2  # of a certificate's file
FIRST_TRIALS = 6_000  # the run of stories before the solver; about a millisecond each
STORY_TRIALS = 100_000
#: Guarantees that have a bound in time; nothing settles at a deadline yet, so it is None: without bound.
BOUNDED = ("freshness", "visibility", "durability")


@dataclass
class Refuted:
    """A wrong neighbour of the rule, and the story that refutes it."""

    name: str
    guarantee: str
    story: list[str]


@dataclass
class Proof:
    """What is known of one rule. `guarantees[PROFILE][NAME]` is {"kept": bool, "bound": str|None, "story": [...]}."""

    name: str
    digest: str  # sha256 of the rule's text, as in its C
    proved: bool
    seconds: float
    bounds: dict[str, int]
    guarantees: dict[str, dict[str, dict[str, Any]]]
    refuted: list[Refuted]
    reasons: list[str]  # why it is not proved
    invariant: list[str]
    queries: int
    worst_ms: float
    alphabet: int  # calls that the model spells out
    opaque: list[str]  # calls for which one unknown call stands
    excluded: list[str]
    calls: list[dict[str, Any]] = field(default_factory=list)

    @property
    def certificate(self) -> str:
        """What a plan names: a digest of the text, of the model, and of each guarantee by profile."""
        kept = {p: {g: [one["kept"], one["bound"]] for g, one in by.items()} for p, by in self.guarantees.items()}
        parts = [VERSION, model_digest(), self.name, self.digest, self.proved, kept]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def lost(self, profile: str) -> frozenset[str]:
        """The guarantees that the rule gives up on file systems of this profile."""
        return frozenset(name for name, one in self.guarantees[profile].items() if not one["kept"])


def prove_rule(
    name_or_folder: str | Path,
    profiles: Iterable[str] = PROFILES,
    *,
    cached: bool = True,
    neighbours: bool = True,
    progress: Callable[[str, int, int], None] | None = None,
) -> Proof:
    """Prove one rule, or take the verdict from the cache.

    Raises RuleError when the text is outside the language or the solver gives up. A rule that is wrong comes back with
    `proved` False and the reasons. `progress` is called with a stage, what is done and what there is to do.
    """
    rule = load_rule(name_or_folder)
    name = certificate_name(rule, neighbours)
    place = cache_folder() / name
    proof = (_read(place) or _read(shipped_folder() / name)) if cached else None
    if proof is None:
        proof = _prove(rule, neighbours, progress or (lambda *_: None))
        _write(place, proof)
    proof.guarantees = {p: proof.guarantees[p] for p in profiles}
    return proof


def find_certificate(name_or_folder: str | Path) -> Proof | None:
    """What is known of a rule already, proved or refuted; None when nobody has tried. Raises RuleError as above."""
    name = certificate_name(load_rule(name_or_folder), neighbours=False)
    return _read(cache_folder() / name) or _read(shipped_folder() / name)


def load_certificate(name: str, *, again: bool = False) -> Proof:
    """The certificate of a rule (name or folder), proved now if need be, or `again` in any case.

    Raises RuleError when the rule is not proved.
    """
    proof = prove_rule(name, cached=not again, neighbours=False)
    if not proof.proved:
        raise RuleError(f"{name} is not proved: {proof.reasons[0]}; run `peephole prove {name}`")
    return proof


# -- the proof ---------------------------------------------------------------------------------------------------


def _prove(rule: RuleText, neighbours: bool, progress: Callable[[str, int, int], None]) -> Proof:
    began = time.monotonic()
    with workers(rule.path) as pool:
        # What a run breaks is lost: the solver is asked only for the rest.
        first = pool.beside.submit(find_stories, rule, {*_LOSABLE, DISCIPLINE}, FIRST_TRIALS, (), False)
        noted = [label for label in notes_of(rule).invariant if label in labels_of(rule)]
        progress("invariant", 0, 1)
        invariant = noted or _find_invariant(pool, rule)
        progress("stories", 0, 1)
        stories = pool.result(first)
        results: list[CallProof] = []
        asked = 0
        broken = set(stories)
        if not broken & {"contents", "results"}:
            results = _all_calls(pool, rule, invariant, frozenset(broken), progress)
            if noted and _late(results) - broken:
                # With another invariant it may hold.
                asked = sum(r.queries for r in results)
                invariant = _find_invariant(pool, rule)
                results = _all_calls(pool, rule, invariant, frozenset(broken), progress)
            broken |= _late(results)
        # A story for what is lost, and for each wrong neighbour: searches, by whichever process has nothing to do.
        untold = broken - stories.keys() - {INVARIANT_KEPT}
        paths = neighbours_of(rule).values() if neighbours else ()
        searches: list[_Search] = [(refute, path) for path in paths]
        searches[:0] = [(_tell_late, (rule, untold))] if untold else []
        told = pool.spread(_search, searches, lambda n: progress("refuted", n, len(searches)))
        stories |= told.pop(0) if untold else {}
        wrong = {b for b in broken if b.startswith(DISCIPLINE)} | (broken & {"contents", "results"})
        guarantees = {profile: _verdicts(broken, profile, stories) for profile in PROFILES}
        reasons = [_reason(w, results, stories) for w in sorted(wrong)]
        if not wrong:
            # With a wrong rule the invariant shrinks and other calls get the blame: only a right one is held to its
            # word.
            reasons += _compare_words(rule, guarantees)
        reasons += [why for _, why in told if why]
    return Proof(
        rule.name, rule.digest, not reasons, round(time.monotonic() - began, 2), dict(BOUNDS), guarantees,
        [one for one, _ in told if one], reasons, invariant, asked + sum(r.queries for r in results),
        round(max((r.worst_ms for r in results), default=0.0), 1), len({s.name for s in alphabet_of(rule)}),
        opaque_calls(), list(EXCLUDED),
        [{"call": r.call, "queries": r.queries, "seconds": round(r.seconds, 3)} for r in results],
    )  # fmt: skip


def _late(results: list[CallProof]) -> set[str]:
    """What the solver finds broken."""
    return {name for r in results for name, is_broken in r.broken.items() if is_broken}


_Search = tuple[Callable[[Any], Any], Any]


def _search(one: _Search) -> Any:
    return one[0](one[1])


def _tell_late(what: tuple[RuleText, set[str]]) -> dict[str, list[str]]:
    return find_stories(*what, STORY_TRIALS)


def _dearest_first(rule: RuleText) -> list[Shape]:
    """Every call of the alphabet, those first that the rule handles."""
    return sorted(alphabet_of(rule), key=lambda s: s.name not in rule.handlers)


def _find_invariant(pool: Workers, rule: RuleText) -> list[str]:
    """Each process drops what its own calls can break, until none does."""
    halves = [_dearest_first(rule)[i::PROVING] for i in range(PROVING)]
    kept: list[str] | None = None
    asked: list[list[str] | None] = [None] * PROVING
    while True:
        # A process that has answered for just these facts has nothing new to say.
        waiting = {
            i: pool.proving[i].submit(find_invariant, rule, halves[i], kept)
            for i in range(PROVING)
            if kept is None or asked[i] != kept
        }
        if not waiting:
            assert kept is not None
            return kept
        for i, future in waiting.items():
            asked[i] = pool.result(future)
            kept = [label for label in asked[i] or [] if kept is None or label in kept]


#: every obligation that a run may break, by its name in a step
_LOSABLE = (*[g for g in GUARANTEES if g != "crash"], *[f"crash {p}" for p in PROFILES])


def _all_calls(
    pool: Workers,
    rule: RuleText,
    invariant: list[str],
    lost: frozenset[str],
    progress: Callable[[str, int, int], None],
) -> list[CallProof]:
    """Every call of the alphabet, by the two processes that prove: each takes the next one when it is done."""
    asked: list[_Asked] = [(prove_call, (rule, shape, invariant, lost)) for shape in _dearest_first(rule)]
    asked += [(prove_interrupted, (rule, shape, invariant)) for shape in interrupting(rule)]
    return pool.spread(_ask, asked, lambda n: progress("calls", n, len(asked)), beside=False)


_Asked = tuple[Callable[..., CallProof], tuple[Any, ...]]


def _ask(one: _Asked) -> CallProof:
    return one[0](*one[1])


def _verdicts(broken: set[str], profile: str, stories: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
    out = {}
    for name in GUARANTEES:
        key = f"crash {profile}" if name == "crash" else name
        kept = key not in broken
        out[name] = {"kept": kept, "bound": None, "story": [] if kept else stories.get(key, [])}
    return out


def _reason(name: str, results: list[CallProof], stories: dict[str, list[str]]) -> str:
    where = ", ".join(r.call for r in results if r.broken.get(name))
    story = ": " + "; ".join(stories[name]) if name in stories else ""
    return f"{name.removeprefix('discipline: ')} does not hold{' at ' if where else ''}{where}{story}"


def _compare_words(rule: RuleText, guarantees: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """relaxes must equal what the solver finds lost: no more, no less."""
    out = []
    for profile, verdicts in guarantees.items():
        lost = {name for name, one in verdicts.items() if not one["kept"]}
        said = rule.given_up(profile)
        if lost - said:
            out.append(f"on {profile} it gives up {', '.join(sorted(lost - said))}, which relaxes does not say")
        if said - lost:
            out.append(f"on {profile} it keeps {', '.join(sorted(said - lost))}, which relaxes gives up")
    return out


def refute(path: Path) -> tuple[Refuted | None, str | None]:
    """Refute a wrong neighbour, whose docstring begins with `Breaks GUARANTEE.`: the story, or why there is none."""
    rule, wanted = _wrong_rule(path)
    stories = find_stories(rule, {wanted}, STORY_TRIALS, focus=_altered(rule), first=True)
    if wanted == DISCIPLINE and stories:
        wanted = next(iter(stories))
    if wanted not in stories:
        return None, f"refuted/{path.name}: no story was found in which it breaks {wanted}"
    return Refuted(rule.name, wanted, stories[wanted]), None


def _wrong_rule(path: Path) -> tuple[RuleText, str]:
    """A wrong neighbour, and what its docstring says that it breaks."""
    rule = load_rule(path)
    if not rule.title.startswith("Breaks "):
        raise RuleError(f"{path}:1: a wrong neighbour's docstring begins with `Breaks GUARANTEE.`")
    return rule, rule.title.removeprefix("Breaks ").rstrip(".")


def look_anew(rule: RuleText) -> tuple[list[str], dict[str, tuple[RuleText, dict[str, Run]]]]:
    """What is worth noting of a rule: its invariant, and runs of it and of its neighbours; see notes.py."""
    lost = {*_LOSABLE} & {*rule.relaxes, *[f"crash {p}" for p in PROFILES if "crash" in rule.given_up(p)]}
    found = {RULE: (rule, find_runs(rule, lost, STORY_TRIALS))}
    for name, path in neighbours_of(rule).items():
        wrong, wanted = _wrong_rule(path)
        found[name] = (wrong, find_runs(wrong, {wanted}, STORY_TRIALS, _altered(wrong), first=True))
    return find_invariant(rule, alphabet_of(rule)), found


def _altered(rule: RuleText) -> set[str]:
    """Where a wrong neighbour is not its right rule, the handlers and the words in them: a story is sought there."""
    right = rule.path.parent.parent / "rule.py"
    if not right.is_file():
        return set()
    ours, theirs = _texts(rule), _texts(load_rule(right))
    changed = {name for name in ours | theirs if ours.get(name) != theirs.get(name)}
    words = {n for name in changed for n in set(ours.get(name, "").split()) ^ set(theirs.get(name, "").split())}
    return {name for name in changed if name != "openat"} | {n.strip("()") for n in words}


def _texts(rule: RuleText) -> dict[str, str]:
    return {name: "\n".join(ast.unparse(s) for s in h.body) for name, h in rule.handlers.items()}


# -- the cache ---------------------------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Where certificates lie."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "peephole" / "proofs"


def model_digest() -> str:
    """A digest of all that a proof rests on beside the rule: this stage's texts and the dispatcher's table."""
    here = Path(__file__).resolve().parent
    whole = hashlib.sha256()
    for path in [*sorted(here.rglob("*.py")), table_path()]:
        whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def shipped_folder() -> Path:
    """Where the build has put the certificates of the rules that come with Peephole."""
    return Path(__file__).resolve().parent.parent / "proofs"


def certificate_name(rule: RuleText, neighbours: bool) -> str:
    """The name of a certificate's file: a digest of all that the proof rests on."""
    parts = [str(VERSION), model_digest(), rule.digest, rule.name]
    if neighbours:
        parts += [hashlib.sha256(p.read_bytes()).hexdigest() for p in neighbours_of(rule).values()]
        parts.append("with neighbours")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:40] + ".json"


def _private(path: Path) -> bool:
    """Whether only the caller, or root, could have written this file and the folder that it lies in."""
    for p in (path, path.parent):
        st = p.lstat()
        if stat.S_ISLNK(st.st_mode) or st.st_uid not in (os.getuid(), 0) or st.st_mode & 0o022:
            return False
    return True


def to_text(proof: Proof) -> str:
    """The text of a certificate's file: the proof in one line, and the digest of that line."""
    line = json.dumps(asdict(proof))
    return f"{line}\n{hashlib.sha256(line.encode()).hexdigest()}\n"


def _read(place: Path) -> Proof | None:
    try:
        if not _private(place):
            return None
        line, _, mark = place.read_bytes().partition(b"\n")
    except OSError:
        return None
    if mark.decode("ascii", "replace").strip() != hashlib.sha256(line).hexdigest():
        raise RuleError(f"{place}: a damaged certificate (changed or cut off); remove it and prove the rule again")
    raw = json.loads(line)
    return Proof(**(raw | {"refuted": [Refuted(**r) for r in raw["refuted"]]}))


def _write(place: Path, proof: Proof) -> None:
    """Best effort: without a cache a proof is only slower."""
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=place.parent)
        with os.fdopen(handle, "w") as out:
            out.write(to_text(proof))
        Path(temporary).rename(place)
    except OSError:
        return


__all__ = [
    "Proof",
    "Refuted",
    "find_certificate",
    "load_certificate",
    "model_digest",
    "prove_rule",
    "refute",
    "rule_path",
    "to_text",
]

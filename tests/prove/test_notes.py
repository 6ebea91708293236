"""What is noted beside a rule makes a proof shorter, and nothing of it is believed."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from peephole.prove.certificate import prove_rule
from peephole.prove.language import RULES, load_rule, neighbours_of, rule_names
from peephole.prove.model import terms
from peephole.prove.notes import FILE, RULE, notes_of
from peephole.prove.obligations import labels_of
from peephole.prove.stories import find_stories
from peephole.prove.vocabulary import GUARANTEES

SMALL = "memo_identity"


@pytest.mark.parametrize("name", [n for n in rule_names() if (RULES / n / FILE).is_file()])
def test_each_noted_run_breaks_what_it_is_noted_for(name: str) -> None:
    rule, notes = load_rule(name), notes_of(load_rule(name))
    assert set(notes.invariant) <= labels_of(rule)
    for key in notes.runs:
        one = rule if key == RULE else load_rule(neighbours_of(rule)[key])
        runs = notes.runs_of(one)
        assert runs.keys() == notes.runs[key].keys()
        assert find_stories(one, runs, trials=0).keys() == runs.keys(), key


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A rule in a folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copytree(RULES / SMALL, tmp_path / SMALL))


def rewrite(folder: Path, **changes: Any) -> None:
    place = folder / FILE
    place.write_text(json.dumps(json.loads(place.read_text()) | changes))


@pytest.mark.long
def test_a_proof_without_notes_finds_the_same(small: Path) -> None:
    noted = prove_rule(small)
    (small / FILE).unlink()
    anew = prove_rule(small, cached=False)
    assert noted.proved and anew.proved
    assert noted.guarantees == anew.guarantees and noted.invariant == anew.invariant
    assert [r.guarantee for r in noted.refuted] == [r.guarantee for r in anew.refuted]


@pytest.mark.parametrize("more", [False, True])
def test_an_invariant_that_is_not_one_or_not_enough_is_found_anew(small: Path, more: bool) -> None:
    rule = load_rule(small)
    right = notes_of(rule).invariant
    wrong = sorted(labels_of(rule)) if more else [right[0]]
    rewrite(small, invariant=wrong)
    proof = prove_rule(small, cached=False, neighbours=False)
    assert proof.proved, proof.reasons
    assert set(proof.invariant) == set(right)


def test_a_run_that_breaks_nothing_or_begins_nowhere_is_not_told(small: Path) -> None:
    neighbour = load_rule(neighbours_of(load_rule(small))["one_for_the_other"])
    runs = json.loads((small / FILE).read_text())["runs"]
    ((name, run),) = runs["one_for_the_other"].items()
    assert find_stories(neighbour, {name}, trials=0)
    for broken in (run | {"calls": run["calls"][:1]}, run | {"start": {"p.f.known": 1}}, {"calls": 3}, {}):
        rewrite(small, runs=runs | {"one_for_the_other": {name: broken}})
        assert not find_stories(neighbour, {name}, trials=0)
    (small / FILE).write_text("no notes")
    assert not find_stories(neighbour, {*GUARANTEES}, trials=0)


def _random_bool(rng: random.Random, depth: int) -> Any:
    if depth == 0:
        return terms.bool_var(f"b{rng.randrange(4)}")
    a, b, c = (_random_bool(rng, depth - 1) for _ in range(3))
    match rng.randrange(4):
        case 0:
            return lambda: terms.and_(_built(a), _built(b), _built(c)), lambda v: _of(a, v) and _of(b, v) and _of(c, v)
        case 1:
            return lambda: terms.not_(_built(a)), lambda v: not _of(a, v)
        case 2:
            return lambda: terms.or_(_built(a), _built(b)), lambda v: _of(a, v) or _of(b, v)
    return lambda: terms.ite(_built(a), _built(b), _built(c)), lambda v: _of(b, v) if _of(a, v) else _of(c, v)


def _built(one: Any) -> Any:
    return one[0]() if isinstance(one, tuple) else one


def _of(one: Any, values: dict[str, bool]) -> Any:
    return one[1](values) if isinstance(one, tuple) else values[one.args[0]]


def test_terms_that_are_folded_mean_what_they_meant() -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(400):
        one = _random_bool(rng, rng.randrange(1, 6))
        built = _built(one)
        for bits in range(16):
            values = {f"b{i}": bool(bits >> i & 1) for i in range(4)}
            assert bool(terms.evaluate(built, values)) == bool(_of(one, values))

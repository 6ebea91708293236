"""What proving costs, and whether the prover notices when a rule is wrong.

`--rules LIST` for some of the rules; `--no-mutants` for the proofs alone. A mutant counts as killed when a story
breaks what the rule may not give up, or when the proof fails. What survives is proved to keep what the rule keeps; the
file `survivors.txt` in the rule's folder says why it may.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peephole.prove.certificate import model_digest, prove_rule, prove_text
from peephole.prove.language import load_rule, rule_names
from peephole.prove.mutate import Mutant, mutants
from peephole.prove.obligations import NEVER_GIVEN_UP
from peephole.prove.step import DISCIPLINE
from peephole.prove.stories import find_stories
from peephole.prove.vocabulary import GUARANTEES, PROFILES

TRIALS = 4000  # of the search for a story, before the solver is asked


@dataclass(frozen=True)
class Options:
    """What to look at."""

    rules: tuple[str, ...]
    mutants: bool


def options(words: list[str]) -> Options:
    """This benchmark's own options."""
    parser = argparse.ArgumentParser(prog="python -m bench prove", description=__doc__)
    parser.add_argument("--rules", help="names, with commas between them")
    parser.add_argument("--no-mutants", action="store_true")
    said = parser.parse_args(words)
    return Options(tuple(said.rules.split(",")) if said.rules else tuple(rule_names()), not said.no_mutants)


def _dies_in_a_story(mutant: Mutant) -> str | None:
    """What a short run of calls breaks that the rule keeps, if one is found."""
    rule = mutant.rule
    lost = {*rule.relaxes, *(f"crash {p}" for p in PROFILES if "crash" in rule.given_up(p))}
    kept = {*[g for g in GUARANTEES if g != "crash"], *[f"crash {p}" for p in PROFILES], *NEVER_GIVEN_UP} - lost
    stories = find_stories(rule, {*kept, DISCIPLINE}, TRIALS, focus={mutant.function}, first=True)
    return next(iter(stories), None)


def survivors_said(name: str) -> set[str]:
    """The mutants that the rule's folder explains: lines of survivors.txt that are not indented."""
    path = load_rule(name).path.parent / "survivors.txt"
    lines = path.read_text().splitlines() if path.is_file() else []
    return {line for line in lines if line and not line.startswith((" ", "#"))}


def _mutation(name: str) -> tuple[int, list[str]]:
    """How many mutants there are, and the names of those that survive."""
    every = list(mutants(load_rule(name)))
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        told = list(pool.map(_dies_in_a_story, every))
    left = [m for m, story in zip(every, told, strict=True) if story is None]
    alive = []
    for m in left:
        if prove_text(m.rule).proved:
            alive.append(m.name)
            print(f"{name}: survives: {m.name}", file=sys.stderr)
    return len(every), alive


def measure(wanted: Options) -> dict[str, Any]:
    """Proves every rule afresh, then its mutants."""
    figures: dict[str, Any] = {"seconds": 0.0, "rules": len(wanted.rules), "proved": 0, "refuted": 0, "neighbours": 0}
    figures |= {"queries": 0, "worst_query_ms": 0.0}
    for name in wanted.rules:
        began = time.monotonic()
        proof = prove_rule(name, cached=False)
        seconds = time.monotonic() - began
        figures[f"{name}.seconds"] = seconds
        figures["seconds"] += seconds
        figures["proved"] += proof.proved
        figures["refuted"] += len(proof.refuted)
        figures["neighbours"] += len(list((load_rule(name).path.parent / "refuted").glob("*.py")))
        figures["queries"] += proof.queries
        figures["worst_query_ms"] = max(figures["worst_query_ms"], proof.worst_ms)
    if wanted.mutants:
        figures |= {"mutants": 0, "mutants_killed": 0, "survivors_unexplained": 0}
        for name in wanted.rules:
            count, alive = _mutation(name)
            figures["mutants"] += count
            figures["mutants_killed"] += count - len(alive)
            figures["survivors_unexplained"] += len(set(alive) - survivors_said(name))
            figures |= {f"{name}.mutants": count, f"{name}.survivors": len(alive)}
    return {"figures": figures, "conditions": _conditions()}


def _conditions() -> dict[str, Any]:
    import z3

    load = Path("/proc/loadavg").read_text().split()[0]
    return {
        "kernel": platform.release(), "python": platform.python_version(), "z3": z3.get_version_string(),
        "processors": os.cpu_count(), "load_at_the_end": load, "model": model_digest()[:16], "workers": 2,
    }  # fmt: skip

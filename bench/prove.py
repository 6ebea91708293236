"""What proving costs, and whether the prover notices when a rule is wrong.

`--rules LIST` for some of the rules; `--no-mutants` for the proofs alone, `--no-proofs` for the mutants. A mutant
counts as killed when a story breaks what the rule may not give up, or when the proof fails. What survives is shown to
be the same rule in other words, or is proved to be another right one, of which `survivors.txt` in the rule's folder
says why it may live; bench/results/survivors holds what was found of each.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.mutation import DEAD, RIGHT, SAME, UNSEEN, Verdict, judge_all
from peephole.prove.certificate import model_digest, prove_rule
from peephole.prove.language import load_rule, neighbours_of, rule_names


@dataclass(frozen=True)
class Options:
    """What to look at."""

    rules: tuple[str, ...]
    mutants: bool
    proofs: bool


def options(words: list[str]) -> Options:
    """This benchmark's own options."""
    parser = argparse.ArgumentParser(prog="python -m bench prove", description=__doc__)
    parser.add_argument("--rules", help="names, with commas between them")
    parser.add_argument("--no-mutants", action="store_true")
    parser.add_argument("--no-proofs", action="store_true")
    said = parser.parse_args(words)
    return Options(
        tuple(said.rules.split(",")) if said.rules else tuple(rule_names()), not said.no_mutants, not said.no_proofs
    )


def survivors_said(name: str) -> set[str]:
    """The mutants that the rule's folder explains: lines of survivors.txt that are not indented."""
    path = load_rule(name).path.parent / "survivors.txt"
    lines = path.read_text().splitlines() if path.is_file() else []
    return {line for line in lines if line and not line.startswith((" ", "#"))}


def _mutation(name: str) -> dict[str, Any]:
    """Judges the mutants of one rule; says each survivor, and that it is explained."""
    every, said, figures = [], survivors_said(name), {"unexplained": 0}
    for found in judge_all(name):
        every.append(found)
        if found.verdict == DEAD:
            continue
        explained = found.verdict in (SAME, UNSEEN) or found.mutant in said
        figures["unexplained"] += not explained
        print(f"{name}: {found.mutant}: {found.verdict}: {found.why}", file=sys.stderr, flush=True)
        if not explained:
            print(f"{name}: {found.mutant}: not explained in survivors.txt", file=sys.stderr, flush=True)
    write_survivors(name, every)
    count = Counter(found.verdict for found in every)
    return figures | {
        "mutants": len(every),
        "killed": count[DEAD],
        "same": count[SAME],
        "right": count[RIGHT] + count[UNSEEN],
    }


def write_survivors(name: str, every: list[Verdict]) -> None:
    """The file that shows each survivor of one rule, in bench/results."""
    folder = Path(__file__).parent / "results" / "survivors"
    folder.mkdir(exist_ok=True)
    lines = [f"# {name}: {len(every)} mutants; those that live, and how it is known that they may"]
    for found in every:
        if found.verdict != DEAD:
            lines += [found.mutant, f"  {found.verdict}: {found.why}"]
    (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


def measure(wanted: Options) -> dict[str, Any]:
    """Proves every rule afresh, then its mutants."""
    figures: dict[str, Any] = {"seconds": 0.0, "rules": len(wanted.rules), "proved": 0, "refuted": 0, "neighbours": 0}
    figures |= {"queries": 0, "worst_query_ms": 0.0}
    for name in wanted.rules if wanted.proofs else ():
        began = time.monotonic()
        proof = prove_rule(name, cached=False)
        seconds = time.monotonic() - began
        figures[f"{name}.seconds"] = seconds
        figures["seconds"] += seconds
        figures["proved"] += proof.proved
        figures["refuted"] += len(proof.refuted)
        figures["neighbours"] += len(neighbours_of(load_rule(name)))
        figures["queries"] += proof.queries
        figures["worst_query_ms"] = max(figures["worst_query_ms"], proof.worst_ms)
    if wanted.mutants:
        figures |= {"mutants": 0, "mutants_killed": 0, "mutants_same": 0, "survivors_unexplained": 0}
        began = time.monotonic()
        for name in wanted.rules:
            found = _mutation(name)
            figures["mutants"] += found["mutants"]
            figures["mutants_killed"] += found["killed"]
            figures["mutants_same"] += found["same"]
            figures["survivors_unexplained"] += found["unexplained"]
            figures |= {f"{name}.mutants": found["mutants"], f"{name}.survivors": found["same"] + found["right"]}
        # Of those that are not the rule itself in other words.
        unlike = figures["mutants"] - figures["mutants_same"]
        figures |= {"kill_ratio": figures["mutants_killed"] / max(1, unlike), "mutants_s": time.monotonic() - began}
    return {"figures": figures, "conditions": _conditions()}


def _conditions() -> dict[str, Any]:
    import z3

    load = Path("/proc/loadavg").read_text().split()[0]
    return {
        "kernel": platform.release(), "python": platform.python_version(), "z3": z3.get_version_string(),
        "processors": os.cpu_count(), "load_at_the_end": load, "model": model_digest()[:16], "workers": 2,
    }  # fmt: skip

"""Mutants of every rule, judged: killed, or shown to be the same rule or another right one.

Cheapest first, and it stops at what it finds: a few hundred runs of calls; whether the solver tells the mutant from the
rule at all; some thousand runs; the mutant's own proof, until the first thing that does not hold. Verdicts are kept by
a digest of the mutant's text and of the model.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from peephole.errors import RuleError
from peephole.prove.certificate import cache_folder, model_digest, prove_rule
from peephole.prove.equivalence import breaks_like_a_neighbour, compare, first_fault, is_story_of_fault
from peephole.prove.language import RuleText, load_rule
from peephole.prove.model.kernel import NOFOLLOW, OPEN_BITS
from peephole.prove.mutate import Mutant, mutants
from peephole.prove.vocabulary import NUMBERS

FEW, SOME = 300, 1500  # trials of the search for a story, before and after the solver is first asked
DEAD, SAME, RIGHT, UNSEEN = "killed", "the same rule", "another right rule", "outside the model"
UNKNOWN = "unknown"  # the solver gave up: neither killed nor explained
#: flags of open that the model has not: they are among what every proof says it does not look at
UNSEEN_FLAGS = [name for name, n in NUMBERS.items() if n.kind == "flag" and n.value not in (*OPEN_BITS, NOFOLLOW)]


@dataclass(frozen=True)
class Verdict:
    """What became of one mutant, and how that is known."""

    mutant: str
    verdict: str
    why: str


def judge_all(name: str) -> Iterator[Verdict]:
    """Each mutant of a rule, by two processes; in the order of the text."""
    right = load_rule(name)
    every = list(mutants(right))
    prove_rule(name, neighbours=False)  # and keep its certificate: each process asks for the invariant
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        yield from pool.map(_judge_kept, [name] * len(every), every)


def _judge_kept(name: str, mutant: Mutant) -> Verdict:
    place = cache_folder().parent / "mutants" / f"{model_digest()[:16]}-{mutant.rule.digest[:32]}.json"
    if place.is_file():
        kept = json.loads(place.read_text())
        return Verdict(mutant.name, kept["verdict"], kept["why"])
    try:
        found = judge(load_rule(name), mutant)
    except RuleError as e:
        return Verdict(mutant.name, UNKNOWN, str(e))  # not kept: on a machine with less to do it may be known
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_suffix(f".{os.getpid()}")
    beside.write_text(json.dumps(asdict(found)))
    beside.rename(place)
    return found


@lru_cache(maxsize=2)
def _invariant(path: Path) -> list[str]:
    return prove_rule(path, neighbours=False).invariant


def judge(right: RuleText, mutant: Mutant) -> Verdict:
    """One mutant. Raises RuleError when the solver gives up."""
    rule, near = mutant.rule, {mutant.function}
    if mutant.operator == "drop-flag" and any(f": {name} of" in mutant.name for name in UNSEEN_FLAGS):
        return Verdict(mutant.name, UNSEEN, "a proof does not look at this flag, and says so")
    story = breaks_like_a_neighbour(rule) or is_story_of_fault(rule, near, FEW)
    if story:
        return Verdict(mutant.name, DEAD, f"a run of calls breaks {story}")
    like = compare(right, rule, _invariant(right.path))
    if like.alike:
        return Verdict(mutant.name, SAME, "from each state of the invariant, each call does just what the rule's does")
    story = is_story_of_fault(rule, near, SOME)
    if story:
        return Verdict(mutant.name, DEAD, f"a run of calls breaks {story}")
    fault = first_fault(rule, near, SOME)
    if fault:
        return Verdict(mutant.name, DEAD, f"its proof fails: {fault}")
    if like.but_for_memory:
        why = "each call answers as the rule's does and leaves the kernel's state alike; it remembers other things"
        return Verdict(mutant.name, RIGHT, f"{why}, from which it is proved as well")
    return Verdict(mutant.name, RIGHT, "proved: it keeps what the rule keeps and gives up what the rule gives up")


__all__ = ["DEAD", "RIGHT", "SAME", "UNSEEN", "Verdict", "judge", "judge_all"]

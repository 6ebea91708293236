"""The weakest guard that would save a guarantee: what a rule gives up, and where it would not have to.

A guard is one question that the rule language offers, asked before the rule takes a file: of open's flags, or of what
was opened. For each the rule is written anew, and held to what it says it gives up less the guarantee: by a search for
a counterexample, then by the whole proof. The weakest of those that hold is the one that lets the rule take most files.
"""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from peephole.errors import RuleError
from peephole.prove.equivalence import first_break, is_story_of_fault
from peephole.prove.language import RuleText, parse_rule
from peephole.prove.model.machine import DESCRIPTIONS
from peephole.prove.stories import states_reached

#: asked of open's flags, before anything else
OF_FLAGS = tuple(
    f"{no}flags & {flag}" for flag in ("O_APPEND", "O_CREAT", "O_EXCL", "O_TRUNC", "O_RDWR") for no in ("not ", "")
)
#: asked of the file, before the rule takes it
OF_FILE = ("k.size(fd) > 0", "k.size(fd) == 0", "k.alone(fd)", "k.private(fd)", "k.regular(fd)")
TRIALS = 2500
SAMPLE = 400  # opens and other calls, to see how many files a guarded rule takes


@dataclass(frozen=True)
class Guard:
    """A guard under which the guarantee is kept, and of how many files in a hundred it lets the rule take."""

    guarantee: str
    guard: str
    taken_percent: int


def weakest_guard(rule: RuleText, guarantee: str) -> Guard | None:
    """The weakest guard of those offered that would save the guarantee; None when none does."""
    unguarded = max(1, _taken(rule))
    found: list[Guard] = []
    for guard, guarded in guarded_rules(rule):
        held = replace(
            guarded,
            relaxes=rule.relaxes - {guarantee},
            relaxes_on={p: names - {guarantee} for p, names in rule.relaxes_on.items()},
        )
        taken = 100 * _taken(held) // unguarded
        if taken == 0 or any(taken <= g.taken_percent for g in found):
            continue
        near = set(rule.handlers)
        if is_story_of_fault(held, near, TRIALS) is None and first_break(held, near) is None:
            found.append(Guard(guarantee, guard, min(taken, 100)))
    return max(found, key=lambda g: g.taken_percent, default=None)


def guarded_rules(rule: RuleText) -> Iterator[tuple[str, RuleText]]:
    """The rule with each guard in its open; those that the language refuses are left out."""
    tree = ast.parse(rule.path.read_bytes())
    for guard in (*OF_FLAGS, *OF_FILE):
        changed = copy.deepcopy(tree)
        opens = [n for n in ast.walk(changed) if isinstance(n, ast.FunctionDef) and n.name == "openat"]
        if not opens or not _guard(opens[0].body, guard, late=guard in OF_FILE):
            continue
        _import(changed, guard)
        try:
            yield guard, parse_rule(ast.unparse(ast.fix_missing_locations(changed)).encode(), rule.path, rule.name)
        except RuleError:
            continue


def _guard(body: list[ast.stmt], guard: str, late: bool) -> bool:
    """Put the guard where the rule takes the file, or at the beginning; gives whether there is such a place."""
    for i, s in enumerate(body):
        text = ast.unparse(s)
        if late and text == "f = k.file(fd)":
            # A mechanism that enters the kernel stands alone on a right-hand side.
            asks = "k.size(fd)"
            first = f"asked = {asks}\n" if asks in guard else ""
            body[i:i] = ast.parse(f"{first}if not ({guard.replace(asks, 'asked')}):\n    return fd").body
            return True
        if not late and text == "k.settle_all()":
            body[i + 1 : i + 1] = ast.parse(f"if not ({guard}):\n    return k.forward()").body
            return True
    return False


def _import(tree: ast.Module, guard: str) -> None:
    names = [n.id for n in ast.walk(ast.parse(guard)) if isinstance(n, ast.Name) and n.id.startswith("O_")]
    for s in tree.body:
        if isinstance(s, ast.ImportFrom) and s.module == "peephole.prove.vocabulary":
            s.names += [ast.alias(n) for n in names if n not in {a.name for a in s.names}]


def _taken(rule: RuleText) -> int:
    """How many files a rule has taken in a sample of runs."""
    states = states_reached(rule, random.Random(0), SAMPLE)
    return sum(bool(state[f"d{d}.h"]) for state in states for d in range(DESCRIPTIONS))


__all__ = ["Guard", "guarded_rules", "weakest_guard"]

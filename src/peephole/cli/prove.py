"""`peephole prove`: which guarantees a rule keeps and which it gives up."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from peephole.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from peephole.prove.certificate import Proof

PROFILE_CHOICES = ("ext4-ordered", "weak", "sequential")


@click.command()
@click.argument("rules", nargs=-1, metavar="RULE...")
@click.option("--all", "every", is_flag=True, help="Every rule that comes with Peephole.")
@click.option("--profile", type=click.Choice(PROFILE_CHOICES), help="Only file systems of this crash profile.")
@click.option("--recheck", is_flag=True, help="Prove again, even when a certificate is at hand.")
@click.option("--guards", is_flag=True, help="Also seek the weakest guard that would save a guarantee.")
@click.option("--json", "as_json", is_flag=True, help="Only JSON on standard output.")
def command(
    rules: tuple[str, ...], every: bool, profile: str | None, recheck: bool, guards: bool, as_json: bool
) -> int:
    """Prove which guarantees each RULE (a name, a folder or a file) keeps, and which it gives up.

    Each guarantee that is given up comes with a counterexample: a short run of calls. Exits with 1 when a rule is not
    proved.
    """
    from peephole.diagnose.gives_up import acts_beside
    from peephole.prove.certificate import prove_rule
    from peephole.prove.language import rule_names

    if every and rules:
        raise UsageError("--all is every rule; name rules, or say --all")
    names = rule_names() if every else list(rules)
    if not names:
        raise UsageError("name a rule, or say --all; `peephole rules` lists them")
    for name in names:
        if acts_beside(name):
            raise UsageError(f"{name} acts beside the program and rewrites nothing; `peephole rules {name}` says why")
    profiles = (profile,) if profile else PROFILE_CHOICES
    proofs = [prove_rule(n, profiles, cached=not recheck, progress=_progress(n)) for n in names]
    saved = {p.name: _guards(n, p) for n, p in zip(names, proofs, strict=True)} if guards else {}
    if as_json:
        click.echo(json.dumps(_as_json(proofs, saved), indent=1))
    else:
        from rich.console import Console

        console = Console(highlight=False, markup=False)
        for proof in proofs:
            _print(console, proof)
            for guarantee, said in saved.get(proof.name, {}).items():
                console.print(f"  {guarantee}: {said or 'no guard that the language offers would save it'}")
    return 0 if all(p.proved for p in proofs) else 1


class _progress:
    """One line on a terminal, nothing on a pipe."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, stage: str, done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[Kproving {self.name}: {stage} {done}/{total}", end="\r", file=sys.stderr, flush=True)


def _guards(name: str, proof: Proof) -> dict[str, str]:
    """For each guarantee that is given up everywhere, the weakest guard that would save it; empty when none does."""
    from peephole.prove.guards import weakest_guard
    from peephole.prove.language import load_rule

    rule = load_rule(name)
    said = {}
    for guarantee in sorted(frozenset.intersection(*[proof.lost(p) for p in proof.guarantees])):
        found = weakest_guard(rule, guarantee)
        said[guarantee] = f"kept where `{found.guard}`, {found.taken_percent} % of the files" if found else ""
    return said


def _as_json(proofs: list[Proof], guards: dict[str, dict[str, str]]) -> dict[str, object]:
    rules = []
    for p in proofs:
        refuted = [{"name": r.name, "guarantee": r.guarantee, "story": r.story} for r in p.refuted]
        rules.append(
            {
                "name": p.name, "digest": p.digest, "proved": p.proved, "reasons": p.reasons, "seconds": p.seconds,
                "bounds": p.bounds, "queries": p.queries, "worst_ms": p.worst_ms, "alphabet": p.alphabet,
                "opaque": p.opaque, "excluded": p.excluded, "invariant": p.invariant, "guarantees": p.guarantees,
                "refuted": refuted, "calls": p.calls,
                **({"guards": guards[p.name]} if guards else {}),
            }
        )  # fmt: skip
    return {"schema": "peephole/proof", "version": 1, "rules": rules}


def _print(console: Console, proof: Proof) -> None:
    from rich.table import Table

    verdict = "proved" if proof.proved else "NOT proved"
    console.print(f"{proof.name}: {verdict}, {proof.queries} queries in {proof.seconds:.1f} s", style="bold")
    for reason in proof.reasons:
        console.print(f"  {reason}")
    table = Table(box=None, padding=(0, 2))
    table.add_column("guarantee")
    for profile in proof.guarantees:
        table.add_column(profile)
    for name in next(iter(proof.guarantees.values())):
        cells = ["keeps" if v[name]["kept"] else "gives up" for v in proof.guarantees.values()]
        table.add_row(name, *cells)
    console.print(table)
    for title, story in _stories(proof):
        console.print(f"\n  without {title}:")
        for line in story or ["(no short run was found; the solver has one from a longer past)"]:
            console.print(f"    {line}")
    for refuted in proof.refuted:
        console.print(f"\n  refuted: {refuted.name} breaks {refuted.guarantee}:")
        for line in refuted.story:
            console.print(f"    {line}")
    bounds = ", ".join(f"{count} {what}" for what, count in proof.bounds.items())
    console.print(f"\n  looked at {proof.alphabet} calls and {len(proof.opaque)} more that one unknown call stands for")
    console.print(f"  within {bounds}")
    console.print(f"  assumes, for {len(proof.excluded)} things left out, that they do not matter:")
    for excluded in proof.excluded:
        console.print(f"    {excluded}")
    console.print()


def _stories(proof: Proof) -> list[tuple[str, list[str]]]:
    """Each guarantee that is given up once, with the profiles where it is."""
    where: dict[str, list[str]] = {}
    stories: dict[str, list[str]] = {}
    for profile, verdicts in proof.guarantees.items():
        for name, one in verdicts.items():
            if not one["kept"]:
                where.setdefault(name, []).append(profile)
                stories[name] = stories.get(name) or one["story"]
    every = len(proof.guarantees)
    return [(n if len(p) == every else f"{n} (on {', '.join(p)})", stories[n]) for n, p in where.items()]

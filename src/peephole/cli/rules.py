"""`peephole rules`: what rules there are, what one does, and the C that runs."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from peephole.errors import UsageError

if TYPE_CHECKING:
    from peephole.prove.language import RuleText


@dataclass(frozen=True)
class Beside:
    """A rule that acts beside the program: it handles no call, and there is nothing to prove of it."""

    name: str
    path: Path
    title: str
    doc: str
    relaxes: frozenset[str]
    relaxes_on: dict[str, frozenset[str]] = field(default_factory=dict)
    handlers: tuple[str, ...] = ()
    digest: str = ""


@click.command()
@click.argument("name", required=False)
@click.option("--c", "as_c", is_flag=True, help="Print the C that is made from the rule and runs in the program.")
@click.option("--json", "as_json", is_flag=True, help="Only JSON on standard output.")
def command(name: str | None, as_c: bool, as_json: bool) -> None:
    """List the rules, or show the one called NAME (or a rule's folder): what it does and what it gives up."""
    from peephole.prove.language import load_rule, rule_names

    beside = _beside()
    if name is None:
        if as_c:
            raise UsageError("--c needs the name of a rule; `peephole rules` lists them")
        _list([*(load_rule(each) for each in rule_names()), *beside.values()], as_json)
        return
    rule = beside.get(name) or load_rule(name)
    if as_c:
        from peephole.prove.emit import emit_rule

        if isinstance(rule, Beside):
            raise UsageError(f"{name} acts beside the program; nothing of it is compiled into one")
        click.echo(emit_rule(rule), nl=False)
    elif as_json:
        click.echo(json.dumps(_as_dict(rule), indent=1))
    else:
        _show(rule)


def _beside() -> dict[str, Beside]:
    from peephole.diagnose.gives_up import RULES, gives_up

    found = {}
    for path in sorted(RULES.glob("*/beside.py")):
        doc = ast.get_docstring(ast.parse(path.read_text())) or ""
        name = path.parent.name
        found[name] = Beside(name, path, doc.partition("\n")[0], doc, frozenset(gives_up(name)))
    return found


def _as_dict(rule: RuleText | Beside) -> dict[str, Any]:
    return {
        "name": rule.name,
        "title": rule.title,
        "doc": rule.doc,
        "digest": rule.digest,
        "gives_up": sorted(rule.relaxes),
        "gives_up_on": {profile: sorted(lost) for profile, lost in sorted(rule.relaxes_on.items())},
        "handles": list(rule.handlers),
    }


def _list(rules: list[RuleText | Beside], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([_as_dict(rule) for rule in rules], indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("rule", "what it does", "gives up", box=None, pad_edge=False)
    for rule in rules:
        more = "".join(f"; {', '.join(sorted(lost))} on {profile}" for profile, lost in sorted(rule.relaxes_on.items()))
        table.add_row(rule.name, rule.title, (", ".join(sorted(rule.relaxes)) or "nothing") + more)
    Console(markup=False, highlight=False).print(table)


def _show(rule: RuleText | Beside) -> None:
    click.echo(f"{rule.name}\n\n{rule.doc.strip()}\n")
    click.echo(f"handles     {', '.join(rule.handlers) or 'no call: it acts beside the program'}")
    click.echo(f"gives up    {', '.join(sorted(rule.relaxes)) or 'nothing'}")
    for profile, lost in sorted(rule.relaxes_on.items()):
        click.echo(f"            {', '.join(sorted(lost))} (on {profile})")
    click.echo(f"source      {rule.path}")
    if not isinstance(rule, Beside):
        click.echo(f"\n`peephole prove {rule.name}` shows why, with a counterexample for each.")

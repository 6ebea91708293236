"""`peephole rules`: the rules, or one rule's page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from peephole.errors import UsageError

if TYPE_CHECKING:
    from peephole.prove.language import RuleText


@click.command()
@click.argument("name", required=False)
@click.option("--c", "as_c", is_flag=True, help="Show the C that is made from the rule's text.")
@click.option("--json", "as_json", is_flag=True, help="Only JSON on standard output.")
def command(name: str | None, as_c: bool, as_json: bool) -> int:
    """List the rules, or show the page of rule NAME (with --c, its C)."""
    from peephole.prove.language import load_rule, rule_names

    if as_c:
        if name is None:
            raise UsageError("--c needs the NAME of a rule")
        from peephole.prove.emit import emit_rule

        click.echo(emit_rule(load_rule(name)), nl=False)
        return 0
    rules = [load_rule(n) for n in ([name] if name else rule_names())]
    if as_json:
        answer = {"schema": "peephole/rules", "version": 1, "rules": [_as_json(r) for r in rules]}
        click.echo(json.dumps(answer, indent=1))
    elif name:
        _page(rules[0])
    else:
        width = max(len(r.name) for r in rules)
        for rule in rules:
            click.echo(f"{rule.name:{width}}  {rule.title}")
    return 0


def _as_json(rule: RuleText) -> dict[str, object]:
    return {
        "name": rule.name,
        "title": rule.title,
        "doc": rule.doc,
        "digest": rule.digest,
        "handles": sorted(rule.handlers),
        "relaxes": sorted(rule.relaxes),
        "relaxes_on": {profile: sorted(names) for profile, names in rule.relaxes_on.items()},
        "path": str(rule.path),
    }


def _page(rule: RuleText) -> None:
    click.echo(f"{rule.name}\n\n{rule.doc}\n")
    click.echo(f"handles   {', '.join(rule.handlers)}")
    click.echo(f"gives up  {', '.join(sorted(rule.relaxes)) or 'nothing'}")
    for profile, names in rule.relaxes_on.items():
        click.echo(f"          on {profile}: {', '.join(sorted(names))}")
    click.echo(f"text      {rule.path}")
    click.echo(f"proof     peephole prove {rule.name}")

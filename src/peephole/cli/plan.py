"""`peephole plan`: choose proved rules for a capture's findings."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("capture", type=click.Path(path_type=Path))
@click.option("-o", "out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The plan to write.")
@click.option("--allow", metavar="LIST", help="Guarantees that may be given up, as for tune.")
def command(capture: Path, out: Path, allow: str | None) -> None:
    """Choose proved rules for the findings of CAPTURE, under the consent given, and write a plan."""
    from peephole.cli.tune import declined_json
    from peephole.diagnose.engine import diagnose
    from peephole.improve import ahead, consent, places, plan, plan_file
    from peephole.improve.armed import prices_for
    from peephole.observe.capture import open_capture
    from peephole.report.words import plain

    allowed = consent.parse(allow)
    opened = open_capture(capture)
    found = diagnose([opened], prices_for)
    chosen, declined = plan.choose(found.findings, places.touched(opened), allowed, opened.meta.command)
    chosen, more = plan.with_ahead(chosen, found.findings, opened, out)
    declined += more
    plan_file.save(chosen, out)
    for rule in chosen.rules:
        print(f"applied: {rule.name}, for {', '.join(rule.findings)}")
    if chosen.ahead is not None:
        print(f"applied: {ahead.NAME}, for {', '.join(chosen.ahead.findings)}: {chosen.ahead.files:,} files")
    for one in declined:
        print(plain(f"not applied: {one.rule}: {declined_json(one)['why']}"))
    print(plain(f"plan: {out}" if chosen.rules or chosen.ahead else f"plan: {out} (no rules: nothing worth changing)"))

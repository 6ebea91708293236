"""peephole doctor: what works here."""

from __future__ import annotations

import json
from dataclasses import asdict

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Only JSON on stdout.")
def command(as_json: bool) -> None:
    """Say what works on this machine, and why not the rest."""
    from peephole.improve.record import INPROCESS
    from peephole.observe.doctor import Check, examine

    use = "observe --engine inprocess, without root; auto prefers ptrace, which knows files and sees all code's calls"
    findings = examine([Check("inprocess", use, INPROCESS.why_not)])
    if as_json:
        print(
            json.dumps({"schema": "peephole/doctor", "version": 1, "checks": [asdict(f) for f in findings]}, indent=1)
        )
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "works", "for", "why not", box=None, pad_edge=False)
    for finding in findings:
        # Reasons quote the kernel and other programs: never read as markup.
        words = (finding.name, "yes" if finding.works else "no", finding.use, finding.why_not or "")
        table.add_row(*(Text(word) for word in words))
    Console().print(table)

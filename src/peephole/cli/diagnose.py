"""peephole diagnose: the findings in captures."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click


@click.command("diagnose")
@click.argument("captures", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="CAPTURE...")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(captures: tuple[Path, ...], as_json: bool) -> None:
    """Name the wasted calls in CAPTUREs, and what removing them would save on this machine.

    Savings are estimated from what calls cost here (see `peephole calibrate`), never from the recording's own times.
    """
    from peephole.diagnose.calibrate import prices_for
    from peephole.diagnose.engine import diagnose
    from peephole.observe.capture import open_capture

    diagnosis = diagnose([open_capture(folder) for folder in captures], prices_for)
    if as_json:
        print(json.dumps(as_dict(diagnosis), indent=1))
    else:
        print_findings(diagnosis)


def as_dict(diagnosis: Any) -> dict[str, Any]:
    """What `--json` prints; docs/cli.md describes it."""
    return {
        "schema": "peephole/findings",
        "version": 1,
        "findings": [asdict(finding) for finding in diagnosis.findings],
        "lost": diagnosis.lost,
        "withheld": diagnosis.withheld,
    }


def sentence(diagnosis: Any) -> str:
    """The answer in one sentence."""
    from peephole.report.words import amount, plain

    if not diagnosis.findings:
        return "nothing worth changing"
    first = diagnosis.findings[0]
    more = len(diagnosis.findings) - 1
    saved = f"{amount(first.saving.ns / 1e9, 's')} of CPU" if first.saving else "something"
    text = (
        f"{first.slug}: {first.calls:,} calls of {first.program} on {first.object}; removing them saves about {saved}"
    )
    return plain(text + (f", and {more} more finding{'s' if more > 1 else ''}" if more else ""))


def print_findings(diagnosis: Any) -> None:
    """The sentence, the table, what to do, what could not be judged."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from peephole.report.words import amount, plain

    # A pipe gets plain lines of a fixed width, a terminal its own width.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    console.print(sentence(diagnosis), style="bold", markup=False, soft_wrap=True)
    if diagnosis.findings:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for name, right in (
            ("waste", 0),
            ("kind", 0),
            ("program", 0),
            ("on", 0),
            ("calls", 1),
            ("saves", 1),
            ("rule", 0),
        ):
            table.add_column(name, justify="right" if right else "left", overflow="fold")
        for f in diagnosis.findings:
            low, high = (amount(ns / 1e9, "s") for ns in (f.saving.low, f.saving.high))
            saves = f"{amount(f.saving.ns / 1e9, 's')}\n({low} to {high})"
            cells = (f.slug, f.kind, f.program, f.object, f"{f.calls:,}", saves, f.rule or "none: advice only")
            table.add_row(*(_cell(plain_lines(cell)) for cell in cells))
        console.print()
        console.print(table)
        for f in {(f.slug, f.program, f.advice): f for f in diagnosis.findings}.values():
            given = f"; the rule gives up {', '.join(f.gives_up)}" if f.gives_up else ""
            console.print(f"{f.slug} ({plain(f.program)}): {plain(f.advice)}{given}", markup=False, soft_wrap=True)
        console.print("`peephole explain SLUG` tells more; savings are estimates from calibrated prices", markup=False)
    if diagnosis.lost:
        console.print(
            f"{diagnosis.lost:,} events were lost while recording; {diagnosis.withheld:,} instances rest on what is"
            " missing and were left out",
            markup=False,
            soft_wrap=True,
        )


def plain_lines(text: str) -> str:
    """`plain` for text of our own line breaks."""
    from peephole.report.words import plain

    return "\n".join(plain(line) for line in text.split("\n"))


def _cell(text: str) -> Any:
    from rich.text import Text

    return Text(text)

"""peephole calibrate: what calls cost on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("calibrate")
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path), default=Path(), help="A folder on the file system to measure."
)
@click.option("--json", "as_json", is_flag=True, help="Print the prices as JSON.")
def command(folder: Path, as_json: bool) -> None:
    """Measure what calls cost on this machine, on the file system of a folder (default: this one), and with each rule.

    The result is kept, and `diagnose` estimates savings with it. Takes about half a minute.
    """
    from peephole.diagnose.calibrate import calibrate
    from peephole.errors import UsageError
    from peephole.improve.armed import with_rule

    if not folder.is_dir():
        raise UsageError(f"--dir {folder}: is not a folder; name one on the file system to measure")
    prices = calibrate(folder, with_rule)
    if as_json:
        found = {name: price.figures() for name, price in prices.of.items()}
        print(json.dumps({"schema": "peephole/prices", "version": 1, "where": prices.where, "prices": found}, indent=1))
        return

    def amount(ns: float) -> str:
        return f"{ns:,.0f}" if ns >= 10 else f"{ns:.2f}"

    print(f"nanoseconds of CPU a call, median and quartiles, and in a bare loop: {prices.where}")
    print("RULE:CALL is the call with the rule in it")
    for name, price in prices.of.items():
        bare = amount(price.figures()["bare_ns"])
        print(f"  {name:<40}{amount(price.ns):>10}   {amount(price.low)} to {amount(price.high)}, bare {bare}")

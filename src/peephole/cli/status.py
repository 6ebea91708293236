"""`peephole status`: which processes are improved, and what the rules do there."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from peephole.errors import EngineError

_EVERY_S = 1.0


def lines(trees: list[dict[str, Any]]) -> list[str]:
    """One block a tree: its processes, then its rules."""
    out: list[str] = []
    for tree in trees:
        stats = tree["stats"]
        who = ", ".join(f"{p['pid']} ({p['exe'].rpartition('/')[2]})" for p in tree["processes"][:8])
        more = len(tree["processes"]) - 8
        out.append(who + (f" and {more} more" if more > 0 else "") + ("" if tree["on"] else "; switched off"))
        out.append(
            f"  {stats['processes']} programs so far, {stats['sites_patched']} call sites, "
            f"{stats['calls_passed']} calls looked at and passed"
        )
        for name, rule in stats["rules"].items():
            whys = ", ".join(f"{why} {n}" for why, n in rule["why_not"].items() if n)
            off = f"; switched off: {rule['switched_off']}" if rule["switched_off"] else ""
            trust = "" if rule["trust"] == "verified" else f" [{rule['trust']}, not verified]"
            out.append(
                f"  {name}{trust}: {rule['hits']} hits, {rule['settled']} settled{f' ({whys})' if whys else ''}{off}"
            )
        for one in stats["not_covered"]:
            out.append(f"  not covered: {one['exe']} ({one['why']})")
    return out


def _trees(pid: int | None) -> list[dict[str, Any]]:
    from peephole.improve.live import covered, table

    found = covered(pid)
    if pid is not None and not found:
        raise EngineError(f"pid {pid} is not improved, or may not be looked at")
    return table(found)


@click.command()
@click.argument("pid", type=int, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print it once, as JSON.")
@click.option("--once", is_flag=True, help="Print it once; without a terminal that is what happens anyway.")
def command(pid: int | None, as_json: bool, once: bool) -> None:
    """Show the improved processes, their rules, hits and settles and why; live on a terminal, until ctrl-C."""
    if as_json:
        print(json.dumps({"schema": "peephole/status", "version": 1, "trees": _trees(pid)}))
        return
    if once or not sys.stdout.isatty():
        print("\n".join(lines(_trees(pid))) or "no process is improved")
        return
    from rich.live import Live
    from rich.text import Text

    with Live(Text("\n".join(lines(_trees(pid)))), refresh_per_second=4) as live:
        while True:
            time.sleep(_EVERY_S)
            live.update(Text("\n".join(lines(_trees(pid))) or "no process is improved any more"))

"""`peephole attach`: put rules into a process that runs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from peephole.cli.chosen import chosen, scheduling


def say_change(change: dict[str, object] | object, as_json: bool, said: str) -> None:
    """What was done, for people or as JSON."""
    if as_json:
        print(json.dumps({"schema": "peephole/change", "version": 1, **change}))  # type: ignore[dict-item]
    else:
        print(said)


def threads(change: object) -> str:
    """How long threads stood still."""
    c: dict[str, float] = change  # type: ignore[assignment]
    n = int(c["threads"])
    return (
        f"{n} thread{'s' if n != 1 else ''} stood still for {c['still_ms']:.2f} ms "
        f"(one of them for {c['lent_ms']:.2f} ms before)"
    )


def _said(pid: int, given: list[dict[str, object]]) -> str:
    if not given:
        return f"scheduling of {pid}: no thread wakes on a period; nothing was changed"
    threads = ", ".join(f"{one['thread']} ({one['wakes_per_s']}/s)" for one in given)
    return f"scheduling of {pid}: real-time priority for {threads}"


@click.command()
@click.argument("pid", type=int)
@click.option("--rules", metavar="LIST|none", help="Rules to apply, by name; none: patch every call, run no rule.")
@click.option("--plan", type=click.Path(path_type=Path), metavar="FILE", help="A plan that `peephole plan` made.")
@click.option("--allow", metavar="LIST", help="Guarantees that may be given up (with --rules).")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(pid: int, rules: str | None, plan: Path | None, allow: str | None, as_json: bool) -> None:
    """Put rules into process PID while it runs, and into what it starts from now on.

    `peephole detach` takes them out again."""
    rest, schedule = scheduling(rules, allow)
    planned = chosen(rest, plan, allow)
    names = planned.names()
    if schedule:
        from peephole.improve import scheduling as priorities

        given = priorities.attach(pid).report()
        if not names:
            say_change({"what": "attach", "pid": pid, "scheduling": given}, as_json, _said(pid, given))
            return
        if not as_json:
            print(_said(pid, given))
    from peephole.improve.live import attach

    change = attach(
        pid,
        names,
        mounts=planned.mounts,
        sources=planned.sources(),
        prices=planned.prices(),
        trusts=planned.trusts(),
    )
    what = ", ".join(names) if names else "no rule"
    if names and not change["rules"]:
        what = "no rule, since it makes system calls of its own (io_uring, Go)"
    calls = sum(change["tiers"].values())
    say_change(change, as_json, f"attached to {pid}: {what}; {calls} call sites; {threads(change)}")

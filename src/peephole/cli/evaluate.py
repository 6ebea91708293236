"""`peephole evaluate`: measure a plan, some rules, none, or the control without the interposer."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from peephole.cli.options import COMMAND_SETTINGS, measure_options, say, take, workload_of
from peephole.errors import UsageError


@click.command(context_settings=COMMAND_SETTINGS)
@click.option("--plan", "plan_file", type=click.Path(path_type=Path), metavar="FILE", help="The plan to measure.")
@click.option("--rules", metavar="LIST|none|off", help="Rules by name; none: the interposer alone; off: not even that.")
@click.option("--force", multiple=True, metavar="RULE", help="Run RULE on your word: unproved, or without consent.")
@click.option("--recheck", is_flag=True, help="Prove the rules again first.")
@measure_options
def command(plan_file: Path | None, rules: str | None, force: tuple[str, ...], recheck: bool, **values: Any) -> int:
    """Measure COMMAND before and after in interleaved pairs, and say gain, loss or no gain.

    `--rules off` compares the command with itself: what is seen then is the noise of this machine.
    """
    options = take(values)
    if (plan_file is None) == (rules is None):
        raise UsageError("give either --plan FILE or --rules LIST, none or off")
    if rules == "off" and force:
        raise UsageError("--rules off runs no rule; leave out --force")
    from peephole.cli.chosen import chosen
    from peephole.cli.folders import result_folder
    from peephole.cli.measure import Session

    plan = None if rules == "off" else chosen(rules, plan_file, options.allow, force, recheck)
    folder = result_folder(options.out, options.command[0])
    session = Session(options, workload_of(options, folder), folder)
    more = 2 if plan is not None else 0
    say(f"peephole: {shlex.join(options.command)} will be run {session.how_often(more)}")
    with session.running(session.usual_runs() + more):
        if plan is None:
            session.measure(None)
        else:
            session.measure_plan(plan)
    return session.finish()

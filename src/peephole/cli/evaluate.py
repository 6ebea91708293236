"""`peephole evaluate`: measure a plan, some rules, none, or the control without the interposer."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from peephole.cli.options import COMMAND_SETTINGS, MeasureOptions, measure_options, say, take, workload_of
from peephole.errors import UsageError


@click.command(context_settings=COMMAND_SETTINGS)
@click.option("--plan", "plan_file", type=click.Path(path_type=Path), metavar="FILE", help="The plan to measure.")
@click.option("--rules", metavar="LIST|none|off", help="Rules by name; none: the interposer alone; off: not even that.")
@measure_options
def command(plan_file: Path | None, rules: str | None, **values: Any) -> int:
    """Measure COMMAND before and after in interleaved pairs, and say gain, loss or no gain.

    `--rules off` compares the command with itself: what is seen then is the noise of this machine.
    """
    options = take(values)
    if (plan_file is None) == (rules is None):
        raise UsageError("give either --plan FILE or --rules LIST, none or off")
    from peephole.cli.folders import result_folder
    from peephole.cli.measure import Session

    plan = None if rules == "off" else _plan(plan_file, rules or "none", options)
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


def _plan(plan_file: Path | None, rules: str, options: MeasureOptions) -> Any:
    from peephole.improve import consent, places, plan

    if plan_file is not None:
        return plan.load(plan_file)
    names = [] if rules == "none" else [name.strip() for name in rules.split(",") if name.strip()]
    # Any mount may be written to; the kernel's own file systems have no profile and are left out.
    usable = [place for place in places.mounted() if place.profile is not None]
    return plan.of_rules(names, usable, consent.parse(options.allow))

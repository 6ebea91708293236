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

    folder = result_folder(options.out, options.command[0])
    session = Session(options, workload_of(options, folder), folder)
    say(f"peephole: {shlex.join(options.command)} will be run up to {session.most_runs()} times")
    with session.running(session.most_runs()):
        session.measure(None)
    return session.finish()

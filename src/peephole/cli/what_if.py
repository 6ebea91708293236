"""`peephole diagnose --what-if SLUG`: the experiment behind one finding."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peephole.errors import UsageError


@dataclass(frozen=True)
class Asked:
    """The options of the experiment."""

    slug: str
    rounds: int | None = None
    drive: str | None = None
    ready: str | None = None
    fresh: str | None = None


def what_if(asked: Asked, captures: Sequence[Any], findings: Sequence[Any]) -> dict[str, Any]:
    """Make the finding's calls dearer, and say what their time is worth: the part `what_if` of --json.

    Raises UsageError when there is no such finding, or no command that could be run again.
    """
    from peephole.diagnose.detectors import detectors
    from peephole.evaluate.what_if import ROUNDS, SIZES, measure
    from peephole.observe.syscalls import NUMBERS

    about = [finding for finding in findings if finding.slug == asked.slug]
    if not about:
        told = ", ".join(sorted({finding.slug for finding in findings})) or "there is none"
        raise UsageError(f"--what-if {asked.slug}: no such finding in this capture ({told})")
    command = _command(captures)
    names = [name for name in detectors()[asked.slug].calls if name in NUMBERS]
    rounds = asked.rounds or ROUNDS
    from peephole.cli.options import say

    say(f"running {command[0]} {2 + rounds * len(SIZES)} times, with delays at its {', '.join(names)}")
    with tempfile.TemporaryDirectory(prefix="peephole-what-if-") as place:
        workload = _workload(asked, command)
        slope = _measured(workload, measure, names, Path(place), rounds)
    saved = sum(finding.saving.ns for finding in about if finding.saving)
    return {
        "slug": asked.slug,
        "calls": names,
        "command": list(command),
        "delayed": slope.calls,
        "delays_ns": slope.sizes_ns,
        "runs": slope.runs,
        "wall_s": slope.base_s,
        "slope": {"ratio": slope.ratio, "low": slope.low, "high": slope.high},
        "verdict": slope.verdict,
        "saving_wall": {at: max(0, round(saved * getattr(slope, of))) for at, of in _INTERVAL},
    }


_INTERVAL = (("ns", "ratio"), ("low", "low"), ("high", "high"))


def _command(captures: Sequence[Any]) -> tuple[str, ...]:
    commands = {tuple(capture.meta.command) for capture in captures}
    if len(commands) != 1 or not (command := commands.pop()):
        raise UsageError("--what-if runs the observed command again, and these captures do not have one in common")
    return command


def _workload(asked: Asked, command: tuple[str, ...]) -> Any:
    from peephole.evaluate.workload import Workload, find_program, parse_ready, split

    if asked.ready is not None and asked.drive is None:
        raise UsageError("--ready is for a server; give --drive CMD too")
    cwd, env = Path.cwd(), dict(os.environ)
    find_program(command[0], cwd, env)
    return Workload(
        command=command,
        cwd=cwd,
        env=env,
        fresh=split(asked.fresh, "--fresh") if asked.fresh else (),
        drive=split(asked.drive, "--drive") if asked.drive else (),
        ready=parse_ready(asked.ready),
    )


def _measured(workload: Any, measure: Any, names: list[str], place: Path, rounds: int) -> Any:
    from peephole.cli.arming import target_of
    from peephole.cli.progress import Progress
    from peephole.evaluate.what_if import SIZES
    from peephole.improve.arm import arm
    from peephole.observe.syscalls import NUMBERS

    target = target_of(workload)
    numbers = [NUMBERS[name] for name in names]
    with arm([], target=target) as armed, Progress(2 + rounds * len(SIZES)) as progress:
        env = armed.environment(workload.env, target)
        return measure(workload, env, armed, numbers, place, rounds, on_run=progress.step)


#: what each verdict means
MEANS = {
    "critical": "they lie on the critical path",
    "hidden": "other work or waiting hides them: the run would hardly be shorter without them",
    "unclear": "the runs scatter too much to tell; try again on a quieter machine, or with more --rounds",
}


def print_what_if(found: dict[str, Any]) -> None:
    """The answer in three lines."""
    from peephole.report.words import amount, plain

    slope = found["slope"]
    print(plain(f"what if {found['slug']}: {MEANS[found['verdict']]}"))
    ratio = f"{slope['ratio']:.2f} s ({slope['low']:.2f} to {slope['high']:.2f})"
    print(f"  each second added to its {found['delayed']:,} calls made the run {ratio} longer; {found['runs']} runs")
    low, mid, high = (amount(found["saving_wall"][at] / 1e9, "s") for at in ("low", "ns", "high"))
    print(f"  of what they cost, about {mid} ({low} to {high}) of {amount(found['wall_s'], 's')} would show")

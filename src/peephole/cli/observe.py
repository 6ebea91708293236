"""peephole observe: record the system calls of a command, or of what already runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from peephole.trace import Capture


def _default_place(command: str) -> Path:
    """The first free name in this folder: NAME.capture, NAME.2.capture, …"""
    name = Path(command).name or "command"
    place, count = Path(f"{name}.capture"), 1
    while place.exists():
        count += 1
        place = Path(f"{name}.{count}.capture")
    return place


@click.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@click.option(
    "-o", "--output", "out", type=click.Path(path_type=Path), help="The capture, a folder. Default: NAME.capture here."
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "ebpf", "ebpf-full", "inprocess", "ptrace"]),
    default="auto",
    show_default=True,
    help="How to record; ebpf-full has exact enter times, inprocess needs no root (see docs/capture.md).",
)
@click.option("-p", "--pid", type=click.IntRange(1), help="Record this running process and its descendants.")
@click.option(
    "--cgroup", type=click.Path(path_type=Path), help="Record every process of this cgroup (a folder) and below it."
)
@click.option("--stacks", is_flag=True, help="Say who made the calls, and sample where CPU time goes.")
@click.option("--redact", is_flag=True, help="Replace paths and arguments by keyed hashes.")
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long processes that outlive COMMAND are recorded.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def command(
    out: Path | None,
    engine: str,
    pid: int | None,
    cgroup: Path | None,
    stacks: bool,
    redact: bool,
    grace: float,
    command: tuple[str, ...],
) -> int:
    """Record every system call of COMMAND's process tree, until COMMAND ends; or of what already runs, until ctrl-C.

    Streams, signals and the exit code are COMMAND's own.
    """
    from peephole.observe.engines import join, observe

    if (pid is not None) + (cgroup is not None) + bool(command) != 1:
        raise click.UsageError("give one of -p PID, --cgroup PATH and -- COMMAND")
    code = 0
    chosen: Any = engine
    if engine == "inprocess":
        from peephole.improve.record import INPROCESS

        chosen = INPROCESS
    if command:
        capture, code = observe(
            list(command), out or _default_place(command[0]), chosen, stacks=stacks, redact=redact, grace=grace
        )
    else:
        name = f"pid-{pid}" if pid is not None else f"cgroup-{Path(str(cgroup)).name}"
        capture = join(out or _default_place(name), pid, cgroup, chosen, stacks, redact)
    _tell(capture)
    return code


def _tell(capture: Capture) -> None:
    from peephole.report.words import plain

    meta = capture.meta
    if meta.why_not_better:
        print(f"peephole: recorded by {meta.engine}, since {meta.why_not_better}", file=sys.stderr)
    lost = f"{meta.lost} lost" if meta.lost else "none lost"
    left = f"; {meta.left} processes go on" if meta.left and not meta.joined else ""
    print(plain(f"peephole: {capture.folder}: {meta.events} calls, {lost}{left}"), file=sys.stderr)

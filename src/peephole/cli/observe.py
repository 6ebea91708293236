"""peephole observe: record a command's system calls."""

from __future__ import annotations

import sys
from pathlib import Path

import click


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
    "--engine", type=click.Choice(["auto", "ebpf", "ptrace"]), default="auto", show_default=True, help="How to record."
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def command(out: Path | None, engine: str, command: tuple[str, ...]) -> int:
    """Record every system call of COMMAND's process tree, until COMMAND ends.

    Streams, signals and the exit code are COMMAND's own.
    """
    from peephole.observe.engines import observe

    capture, code = observe(list(command), out or _default_place(command[0]), engine)
    meta = capture.meta
    if meta.why_not_better:
        print(f"peephole: recorded by {meta.engine}, since {meta.why_not_better}", file=sys.stderr)
    lost = f"{meta.lost} lost" if meta.lost else "none lost"
    print(f"peephole: {capture.folder}: {meta.events} calls, {lost}", file=sys.stderr)
    return code

"""Options that `tune` and `evaluate` share, and the workload they describe."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from peephole.errors import RunError, UsageError
from peephole.evaluate.workload import (
    Workload,
    find_program,
    fs_folders,
    parse_ready,
    parse_same,
    parse_user,
    split,
    spool_stdin,
)

#: COMMAND's own options, which follow its name, are not ours
COMMAND_SETTINGS = {"allow_interspersed_args": False}


@dataclass(frozen=True)
class MeasureOptions:
    """The shared options, as given."""

    command: tuple[str, ...]
    allow: str | None
    pairs: int | None
    repeat: int | None
    primary: str
    drive: str | None
    ready: str | None
    ready_timeout_s: float
    grace_s: float
    same: tuple[str, ...]
    fresh: str | None
    user: str | None
    stdin: Path | None
    timeout_s: float | None
    seed: int | None
    out: Path | None
    as_json: bool

    def chosen_seed(self) -> int:
        """The seed given, or a new one; it is printed with the result."""
        return random.SystemRandom().randrange(1 << 32) if self.seed is None else self.seed


_SECONDS: dict[str, Any] = {"type": click.FloatRange(min=0, min_open=True), "metavar": "SECONDS"}
_FILE: dict[str, Any] = {"type": click.Path(path_type=Path)}
#: words, then settings and help
_OPTIONS: list[tuple[tuple[str, ...], dict[str, Any], str]] = [
    (
        ("--allow",),
        {"metavar": "LIST"},
        "Guarantees that may be given up: durability:10ms,visibility@/var/lib/pg or all.",
    ),
    (
        ("-n", "--pairs"),
        {"type": click.IntRange(min=1)},
        "Pairs of runs; default: until the answer is clear, at most 25.",
    ),
    (
        ("--repeat",),
        {"type": click.IntRange(1, 100), "metavar": "N"},
        "Runs a side in each pair; default 1, and without -n up to 8 for a short command whose runs scatter.",
    ),
    (("--primary",), {"default": "cpu", "show_default": True, "metavar": "FIGURE"}, "The figure that decides."),
    (("--drive",), {"metavar": "CMD"}, "Run CMD beside COMMAND, a server, and measure while it runs."),
    (("--ready",), {"metavar": "SPEC"}, "When the server is ready: tcp:PORT, unix:PATH, file:PATH or exec:CMD."),
    (
        ("--ready-timeout", "ready_timeout_s"),
        {"default": 30.0, "show_default": True} | _SECONDS,
        "How long to wait for it.",
    ),
    (
        ("--grace", "grace_s"),
        {"default": 10.0, "show_default": True, "type": click.FloatRange(min=0), "metavar": "SECONDS"},
        "From TERM to KILL when the server is stopped; also how long processes that outlive COMMAND are waited for.",
    ),
    (
        ("--same",),
        {"multiple": True, "metavar": "SPEC"},
        "What must come out equal: exit, stdout, stderr, driver, files:DIR, exec:CMD, none; default exit and stdout.",
    ),
    (("--fresh",), {"metavar": "CMD"}, "Run before every run, to make the state the same."),
    (("--user",), {"metavar": "NAME"}, "Run COMMAND, and nothing else, as this user (needs root)."),
    (("--stdin",), {"metavar": "FILE"} | _FILE, "Standard input of every run; default: ours, spooled once."),
    (("--timeout", "timeout_s"), _SECONDS, "Limit of one run."),
    (("--seed",), {"type": int}, "Seed of the random order, to repeat a measurement."),
    (("-o", "out"), {"metavar": "DIR"} | _FILE, "Where the result, report, plan, capture and runs go."),
    (("--json", "as_json"), {"is_flag": True}, "Print the result as JSON, and only that."),
]


def measure_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the shared options and COMMAND to a verb."""
    function = click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND...", required=True)(
        function
    )
    for words, settings, text in reversed(_OPTIONS):
        function = click.option(*words, **settings, help=text)(function)
    return function


def take(values: dict[str, Any]) -> MeasureOptions:
    """Split the shared options off a verb's keyword arguments."""
    return MeasureOptions(**{name: values.pop(name) for name in MeasureOptions.__dataclass_fields__})


def workload_of(options: MeasureOptions, folder: Path) -> Workload:
    """The workload that the options describe; standard input is spooled into `folder`.

    Raises UsageError for wrong words, RunError when COMMAND can't be found or run.
    """
    if options.drive is None and options.ready is not None:
        raise UsageError("--ready is for a server; give --drive CMD too")
    cwd, env = Path.cwd(), dict(os.environ)
    same = parse_same(options.same, options.drive is not None)
    find_program(options.command[0], cwd, env)
    drive = split(options.drive, "--drive") if options.drive is not None else ()
    fresh = split(options.fresh, "--fresh") if options.fresh is not None else ()
    _check_programs(drive, fresh, cwd, env)
    touched = [cwd, folder, Path(env.get("TMPDIR", "/tmp"))]
    touched += [Path(str(s.what)) for s in same if s.kind == "files"]
    return Workload(
        command=options.command,
        cwd=cwd,
        env=env,
        stdin=_stdin(options, folder),
        same=same,
        fresh=fresh,
        timeout_s=options.timeout_s,
        drive=drive,
        ready=parse_ready(options.ready),
        ready_timeout_s=options.ready_timeout_s,
        grace_s=options.grace_s,
        user=parse_user(options.user),
        file_systems=fs_folders(touched),
    )


def _check_programs(drive: tuple[str, ...], fresh: tuple[str, ...], cwd: Path, env: dict[str, str]) -> None:
    """Before anything is started: what would fail later, with a server running, fails now."""
    for option, words in (("--drive", drive), ("--fresh", fresh)):
        if words:
            try:
                find_program(words[0], cwd, env)
            except RunError as e:
                raise RunError(f"{option} {e}") from e


def _stdin(options: MeasureOptions, folder: Path) -> Path:
    if options.stdin is None:
        return spool_stdin(0, folder / "stdin")
    try:
        with options.stdin.open("rb") as source:
            if options.stdin.is_file():
                return options.stdin.absolute()
            return spool_stdin(source.fileno(), folder / "stdin")
    except OSError as e:
        raise UsageError(f"--stdin {options.stdin}: {e.strerror}; give a file that can be read") from e


def say(line: str) -> None:
    """One line for people, on standard error: standard output is for the answer."""
    from peephole.report.words import plain

    print(plain(line), file=sys.stderr, flush=True)

"""`peephole improve`: run a command with rules applied."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from peephole.cli import complain
from peephole.cli.chosen import chosen, scheduling
from peephole.errors import EngineError, PeepholeError, UsageError

FAILED = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127
#: engines that have a name and no code
WHY_NOT = {
    "preload": "wrapping libc's functions would miss the calls that libc makes by itself",
}


def _write_stats(path: Path, stats: Any) -> None:
    path.write_text(json.dumps({"schema": "peephole/stats", "version": 1, **stats}, indent=1) + "\n")


@contextmanager
def _beside(schedule: bool, ahead: Any) -> Iterator[dict[str, Callable[[], Any]]]:
    """What is done beside the command; after the end of the context, each says what it did."""
    from peephole.improve import ahead as reading
    from peephole.improve import scheduling as priorities

    told: dict[str, Callable[[], Any]] = {}
    with ExitStack() as stack:
        if schedule:
            told["scheduling"] = stack.enter_context(priorities.Beside()).watch.report
        if ahead is not None:
            told["ahead"] = stack.enter_context(reading.Beside(ahead)).report
        yield told


def _as_it_is(command: tuple[str, ...], ahead: Any, stats: Path | None, schedule: bool) -> int:
    """Run the command as it is: all that is done for it is beside it."""
    from peephole.improve import launch

    path = launch.find(command[0], os.environ)
    if path is None:
        complain(f"{command[0]}: not found")
        return NOT_FOUND
    with _beside(schedule, ahead) as beside:
        try:
            status = launch.run(command, path, os.environ)
        except OSError as e:
            complain(f"{command[0]}: {e.strerror}")
            return NOT_FOUND if e.errno == errno.ENOENT else NOT_EXECUTABLE
    if stats is not None:
        _write_stats(stats, {name: said() for name, said in beside.items()})
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _armed(plan: Any, target: Any, trapping: bool) -> Any:
    from peephole.improve.arm import arm

    return arm(
        plan.names(),
        mounts=plan.mounts,
        target=target,
        prices=plan.prices(),
        trusts=plan.trusts(),
        sources=plan.sources(),
        trapping=trapping,
    )


def _run(command: tuple[str, ...], plan: Any, stats: Path | None, schedule: bool, trapping: bool) -> int:
    from peephole.improve import launch
    from peephole.improve.owned import owned

    path = launch.find(command[0], os.environ)
    if path is None:
        complain(f"{command[0]}: not found")
        return NOT_FOUND
    target = launch.examine(path)
    own = owned((1, 2)) if plan.rules else ()
    with _beside(schedule, plan.ahead) as beside, _armed(plan, target, trapping) as armed:
        try:
            argv, program = armed.command(command, path, target)
            status = launch.run(argv, program, armed.environment(os.environ, target, own, by_command=True))
        except OSError as e:
            if e.errno == errno.ENOEXEC:
                # As execvp does: a file of text without a #! line is a script for the shell.
                shell = Path("/bin/sh")
                env = armed.environment(os.environ, launch.examine(shell), own)
                status = launch.run((str(shell), str(path), *command[1:]), shell, env)
            else:
                complain(f"{command[0]}: {e.strerror}")
                return NOT_FOUND if e.errno == errno.ENOENT else NOT_EXECUTABLE
        armed.settle()
        counted = armed.stats()
    if stats is not None:
        _write_stats(stats, {**counted, **{name: said() for name, said in beside.items()}})
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _say_trusted(plan: Any) -> None:
    for said in plan.on_trust():
        complain(said)


def _print_environment(plan: Any, trapping: bool) -> None:
    import shlex

    for name, value in _armed(plan, None, trapping).environment({}).items():
        print(f"{name}={shlex.quote(value)}")


class _WrongWords(click.UsageError):
    exit_code = FAILED


class _Transparent(click.Command):
    """Wrong usage, too, ends with 125: 2 may be COMMAND's own code."""

    def make_context(self, *words: Any, **settings: Any) -> click.Context:
        try:
            return super().make_context(*words, **settings)
        except click.UsageError as e:
            raise _WrongWords(e.format_message(), e.ctx) from e


@click.command(cls=_Transparent, context_settings={"allow_interspersed_args": False})
@click.option("--rules", metavar="LIST|none", help="Rules to apply, by name; none: patch every call, run no rule.")
@click.option("--plan", type=click.Path(path_type=Path), metavar="FILE", help="A plan that `peephole plan` made.")
@click.option("--allow", metavar="LIST", help="Guarantees that may be given up (with --rules).")
@click.option(
    "--engine",
    type=click.Choice(["auto", "patch", "sud", *WHY_NOT]),
    default="auto",
    help="How calls are reached: auto and patch rewrite call sites; sud traps every call; preload is not to be had.",
)
@click.option("--force", multiple=True, metavar="RULE", help="Run RULE on your word: unproved, or without consent.")
@click.option("--isolate", multiple=True, metavar="RULE", help="Run RULE unproved, and compare it with the kernel.")
@click.option("--recheck", is_flag=True, help="Prove the rules again first.")
@click.option("--stats", type=click.Path(path_type=Path), metavar="FILE", help="Write what the rules did as JSON.")
@click.option("--print-env", is_flag=True, help="Print the variables for a service, and run nothing.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND...")
def command(
    rules: str | None, plan: Path | None, allow: str | None, engine: str, force: tuple[str, ...],
    isolate: tuple[str, ...], recheck: bool,
    stats: Path | None, print_env: bool, command: tuple[str, ...],
) -> int:  # fmt: skip
    """Run COMMAND with rules applied. Its streams, exit code and signals stay its own: 128+N when signal N killed it;
    125 when Peephole itself failed, 126 when COMMAND can't be executed, 127 when it isn't found."""
    try:
        if not command and not print_env:
            raise UsageError("no command; give one after --")
        if engine in WHY_NOT:
            raise EngineError(f"--engine {engine}: {WHY_NOT[engine]}; use --engine patch or sud")
        rest, schedule = scheduling(rules, allow)
        planned = chosen(rest, plan, allow, (*force, *isolate), recheck).isolated(isolate)
        _say_trusted(planned)
        if print_env:
            if schedule or planned.ahead:
                what = "realtime_audio" if schedule else "prefetch_cold"
                raise UsageError(f"{what} can't be had from an environment; use improve")
            _print_environment(planned, engine == "sud")
            return 0
        if (schedule or planned.ahead) and not planned.rules:
            return _as_it_is(command, planned.ahead, stats, schedule)
        return _run(command, planned, stats, schedule, engine == "sud")
    except PeepholeError as e:
        complain(str(e))
        return FAILED
    except OSError as e:
        complain(str(EngineError(e)))
        return FAILED

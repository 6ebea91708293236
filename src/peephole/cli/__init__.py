"""The command line. One file a verb: `cli/VERB.py` holds `command`, a Click command.

Verbs are imported only when used, so that `peephole --help` stays fast.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Any

import click

from peephole import __version__
from peephole.errors import PeepholeError

#: verb -> (module, one line of help); the order is the order of --help
VERBS: dict[str, tuple[str, str]] = {
    "tune": ("tune", "Find, prove, apply and measure what makes COMMAND cheaper: all stages, one answer."),
    "observe": ("observe", "Record every system call of a command's process tree."),
    "import": ("import_", "Turn strace text into a capture."),
    "diagnose": ("diagnose", "Name the wasted calls in captures, and what removing them would save here."),
    "prove": ("prove", "Prove which guarantees a rule keeps and which it gives up."),
    "plan": ("plan", "Choose proved rules for a capture's findings."),
    "improve": ("improve", "Run COMMAND with rules applied; streams, exit code and signals stay its own."),
    "attach": ("attach", "Put rules into a process that runs."),
    "detach": ("detach", "Take the rules out of a process that runs."),
    "status": ("status", "Show the improved processes, their rules and what they did."),
    "evaluate": ("evaluate", "Measure a plan in interleaved pairs, and say gain, loss or no gain."),
    "report": ("report", "Write a result or a capture as one HTML file."),
    "export": ("export", "Write a capture for Perfetto, Chrome, speedscope, flame graphs, or as strace text."),
    "rules": ("rules", "List the rules, or show one."),
    "explain": ("explain", "Explain a kind of waste."),
    "calibrate": ("calibrate", "Measure what calls cost on this machine."),
    "doctor": ("doctor", "Say what works on this machine, and why not the rest."),
}


class _Verbs(click.Group):
    """A group that imports a verb's module only when that verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"peephole.cli.{VERBS[cmd_name][0]}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="peephole")
def cli() -> None:
    """Peephole finds the system calls that waste a program's time, proves a cheaper equivalent,
    swaps it in while the program runs, and measures what was gained."""


def _terminate(signum: int, frame: Any) -> None:
    # Unwind like ctrl-C does, so that every clean-up runs; the exit code says which signal it was.
    raise SystemExit(128 + signum)


def complain(text: str) -> None:
    """One line on standard error, in which nothing is left that a terminal would act on."""
    from peephole.report.words import plain

    print(f"peephole: {plain(text)}", file=sys.stderr)


def main() -> None:
    """Entry point: one clear line for each failure, exit codes as documented in docs/cli.md."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = cli.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Exit as e:
        sys.exit(e.exit_code)
    except click.exceptions.NoArgsIsHelpError as e:
        e.show()
        sys.exit(e.exit_code)
    except click.ClickException as e:
        context = e.ctx if isinstance(e, click.UsageError) else None
        complain(
            " ".join(e.format_message().split()) + (f" ({context.command_path} --help tells more)" if context else "")
        )
        sys.exit(e.exit_code if isinstance(e, click.UsageError) else 2)
    except PeepholeError as e:
        complain(str(e))
        sys.exit(e.exit_code)
    except (KeyboardInterrupt, click.Abort):
        complain("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except PermissionError as e:
        complain(f"{e.filename}: permission denied; choose another place or run as its owner")
        sys.exit(1)
    except OSError as e:
        where = f"{e.filename}: " if e.filename else ""
        complain(f"{where}{e.strerror or e}")
        sys.exit(1)

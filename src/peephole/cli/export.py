"""peephole export: a capture in another tool's format."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from pathlib import Path

import click

FORMATS = ("perfetto", "chrome", "speedscope", "strace", "folded")


@click.command()
@click.argument("capture", type=click.Path(path_type=Path))
@click.option("--to", "to", type=click.Choice(FORMATS), required=True, help="The format.")
@click.option("-o", "--output", "out", type=click.Path(path_type=Path), required=True, help="The file to write.")
def command(capture: Path, to: str, out: Path) -> None:
    """Write CAPTURE for Perfetto, Chrome, speedscope, flame graphs (folded), or as strace text."""
    from peephole.errors import CaptureError
    from peephole.observe.capture import open_capture

    opened = open_capture(capture)
    writer = importlib.import_module(f"peephole.report.exports.{to}")
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        # Paths and command lines may be secrets: nobody else's to read.
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            count = writer.write(opened, file)
        partial.replace(out)
    except OSError as e:
        raise CaptureError(f"{out}: {e.strerror}; choose another place with -o") from e
    finally:
        with suppress(OSError):
            partial.unlink()
    what = "stacks" if to in ("speedscope", "folded") else "calls"
    print(f"{out}: {count} {what}", file=sys.stderr)

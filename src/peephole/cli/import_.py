"""peephole import: strace text, or what a recorder that was killed left behind, into a capture."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from peephole.trace import Meta


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", "capture", required=True, type=click.Path(path_type=Path), help="Folder to write.")
def command(file: Path, capture: Path) -> None:
    """Turn the strace text in FILE (any flags; `-` is standard input) into a CAPTURE.

    The best text is what `strace -f -y -ttt -T -o FILE` writes. FILE may also be what `strace -ff -o FILE` was told:
    then FILE.PID of every process are taken. A folder `.NAME.….partial`, which a killed `peephole observe` leaves
    behind, gives the capture up to then.
    """
    spill = next((place for place in (file, file / "spill") if (place / "begin.json").is_file()), None)
    if spill is not None:
        _import_spill(spill, capture)
    else:
        _import_text(file, capture)


def _import_spill(spill: Path, out: Path) -> None:
    from peephole.observe.capture import write_capture
    from peephole.observe.convert import convert
    from peephole.observe.ebpf import meta_of
    from peephole.observe.launch import Launch

    tables = convert(spill)
    why = None if "ended_ns" in tables.end else "the recorder was killed"
    meta = meta_of(tables, "ebpf", Launch([]), None, why)
    write_capture(out, tables.calls, tables.processes, tables.gaps, meta, extra=tables.extra)
    print(f"{out}: {meta.events} calls{f'; incomplete: {why}' if why else ''}", file=sys.stderr)


def _import_text(file: Path, capture: Path) -> None:
    from peephole.errors import CaptureError
    from peephole.observe.capture import write_capture
    from peephole.observe.strace import parse
    from peephole.observe.strace_lines import lines_of
    from peephole.observe.strace_merge import merged, parts

    suffix = file.suffix[1:]
    try:
        several = parts(file)
        if str(file) == "-":
            tables = parse(lines_of(sys.stdin.buffer))
        elif several:
            tables = parse(merged(several))
        else:
            with file.open("rb") as text:
                tables = parse(lines_of(text), int(suffix) if suffix.isdigit() else None)
    except CaptureError as e:
        raise CaptureError(f"{file}: {e}") from e
    if tables.lost:
        print(f"peephole: {file}: the last line is cut off and was left out", file=sys.stderr)
    times = tables.calls.column("enter_ns").drop_null()
    started, ended = (times[0].as_py(), times[-1].as_py()) if len(times) else (0, 0)
    argv = tables.processes.column("argv")[0].as_py() or []
    meta = Meta(
        command=[word.decode("utf-8", "backslashreplace") for word in argv],
        engine="import",
        started_ns=started,
        ended_ns=ended,
        events=tables.calls.num_rows,
        lost=tables.lost,
        machine={"imported": str(file), "imported_at": int(time.time())},
    )
    write_capture(capture, tables.calls, tables.processes, tables.gaps, meta)
    print(f"{capture}: {tables.calls.num_rows} calls of {tables.processes.num_rows} process images", file=sys.stderr)

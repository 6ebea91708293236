"""`peephole report`: a result or a capture as one HTML file."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from peephole.errors import RunError, UsageError


@click.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="RESULT|CAPTURE")
@click.option("-o", "out", type=click.Path(path_type=Path), metavar="FILE.html", help="Default: report.html beside it.")
@click.option("--redact", is_flag=True, help="Replace paths and arguments by keyed hashes.")
def command(source: Path, out: Path | None, redact: bool) -> None:
    """Write a result (result.json, or its folder) or a capture as one self-contained HTML file."""
    if not source.exists():
        raise UsageError(f"{source}: no such file; give a result.json, its folder, or a capture")
    result = source / "result.json" if source.is_dir() else source
    if result.is_file():
        page, place = _whole_result(result, redact), result.parent / "report.html"
    else:
        page, place = _of_capture(source, redact), source / "report.html"
    from peephole.evaluate.whole import write_whole
    from peephole.report.words import plain

    place = out or place
    write_whole(place, page)
    print(plain(str(place)))


def _whole_result(path: Path, redact: bool) -> str:
    try:
        return _of_result(path, redact)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as e:
        # The file is JSON of the right schema; what is in its fields only shows when it is drawn.
        raise RunError(f"{path}: damaged ({e!r}); run peephole tune again") from e


def _of_result(path: Path, redact: bool) -> str:
    from peephole.evaluate.result import Result, load
    from peephole.report.html import report

    result = load(path)
    if not redact:
        return report(result, path.parent)
    from peephole.report.redact import Redactor

    hide = Redactor()
    hidden: dict[str, Any] = {
        name: hide.any(getattr(result, name))
        for name in ("reason", "declined", "not_covered", "findings", "stories", "proofs", "conditions")
    }
    hidden["conditions"].pop("repeat", None)
    safe: Result = replace(
        result,
        **hidden,
        command=hide.command(result.command),
        paths={},
        given_up=[replace(g, where=hide.any(g.where)) for g in result.given_up],
        differences=[replace(d, what=hide.text(d.what), where=hide.text(d.where)) for d in result.differences],
        warnings=[replace(w, advice=hide.text(w.advice)) for w in result.warnings],
    )
    return report(safe, path.parent)


def _of_capture(folder: Path, redact: bool) -> str:
    from peephole.diagnose.engine import diagnose
    from peephole.evaluate.counts import by_name
    from peephole.improve.armed import prices_for
    from peephole.observe.capture import open_capture
    from peephole.report.capture import capture_report
    from peephole.trace import Finding

    capture = open_capture(folder)
    found = diagnose([capture], prices_for)
    findings, calls = found.findings, by_name(capture)
    if redact:
        from peephole.report.redact import Redactor

        hide = Redactor()
        findings = [Finding(**(hide.any(asdict(f)) | {"saving": f.saving})) for f in findings]
        capture = replace(capture, meta=replace(capture.meta, command=hide.command(capture.meta.command)))
    return capture_report(capture, calls, findings, found.withheld)

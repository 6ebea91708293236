"""peephole diagnose: the findings in captures."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from peephole.errors import UsageError


@click.command("diagnose")
@click.argument("captures", nargs=-1, required=True, metavar="CAPTURE...")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON; the same as --format json.")
@click.option("--format", "form", type=click.Choice(["text", "json", "sarif", "junit"]), default="text")
@click.option(
    "--engine", default="duckdb", metavar="ENGINE", help="duckdb, or spark:MASTER (spark:local[2], spark://HOST:7077)."
)
@click.option("--budget", "budget_path", type=click.Path(path_type=Path), metavar="FILE", help="Fail (3) above it.")
@click.option("--units", type=click.FloatRange(min=0, min_open=True), help="Units of work that the captures hold.")
@click.option("--sequences", "as_sequences", is_flag=True, help="Show frequent sequences that no detector names.")
@click.option("--skeleton", type=click.Path(path_type=Path), metavar="DIR", help="Write a rule's skeleton for each.")
@click.option("--what-if", "slug", metavar="SLUG", help="Run the observed command with delays at SLUG's calls.")
@click.option("--rounds", type=click.IntRange(min=2), help="How often --what-if takes each size of delay; default 6.")
@click.option("--drive", metavar="CMD", help="For --what-if: run CMD beside the command, a server, and measure it.")
@click.option("--ready", metavar="SPEC", help="When the server is ready: tcp:PORT, unix:PATH, file:PATH or exec:CMD.")
@click.option("--fresh", metavar="CMD", help="For --what-if: run before every run, to make the state the same.")
@click.option("--profile", "as_profile", is_flag=True, help="Show time by function and by call, over all processes.")
def command(
    captures: tuple[str, ...],
    as_json: bool,
    form: str,
    engine: str,
    budget_path: Path | None,
    units: float | None,
    as_sequences: bool,
    skeleton: Path | None,
    slug: str | None,
    rounds: int | None,
    drive: str | None,
    ready: str | None,
    fresh: str | None,
    as_profile: bool,
) -> None:
    """Name the wasted calls in CAPTUREs, and what removing them would save on this machine.

    CAPTURE is a capture's folder, a pattern (quoted: '*.capture'), or the URL of either in an object store. Savings are
    estimated from what calls cost here (see `peephole calibrate`), never from the recording's own times.
    """
    from peephole.cli.what_if import Asked, what_if
    from peephole.diagnose.budget import check_whole, read_budget, spent
    from peephole.diagnose.fleet import opened
    from peephole.diagnose.tables import spark_master

    spark_master(engine)  # the word is wrong before anything is read
    form = "json" if as_json else form
    if slug is not None and form not in ("text", "json"):
        raise UsageError(f"--what-if has no {form}; take text or json")
    if slug is None and (rounds or drive or ready or fresh):
        raise UsageError("--rounds, --drive, --ready and --fresh are for the experiment of --what-if SLUG")
    budget = None if budget_path is None else read_budget(budget_path)
    with opened(captures) as found:
        if as_profile:
            show_profile(found, form, engine)
            return
        diagnosis = _diagnosed(found, engine)
        mined = _mined(found, diagnosis, engine) if as_sequences or skeleton else []
        limits = []
        if budget is not None:
            from peephole.diagnose.counted import calls_by_program

            limits = spent(budget, units, calls_by_program(found, engine))
            if not any(one.over for one in limits):
                check_whole(found)
        tried = None
        if slug is not None:
            tried = what_if(Asked(slug, rounds, drive, ready, fresh), found, diagnosis.findings)
    _show(form, diagnosis, limits, mined, tried)
    if skeleton is not None:
        write_skeletons(skeleton, mined)
    if any(one.over for one in limits):
        raise SystemExit(3)


def _diagnosed(found: list[Any], engine: str) -> Any:
    from peephole.diagnose.engine import diagnose
    from peephole.improve.armed import prices_for

    return diagnose(found, prices_for, engine)


def _mined(found: list[Any], diagnosis: Any, engine: str) -> list[Any]:
    from peephole.diagnose.sequences import sequences
    from peephole.diagnose.tables import tables_of

    mined = []
    for capture in found:
        with tables_of(capture, engine) as tables:
            mined += sequences(tables, diagnosis.findings)
    return mined


def _show(form: str, diagnosis: Any, limits: list[Any], mined: list[Any], tried: dict[str, Any] | None) -> None:
    if form == "json":
        budget = [
            {**asdict(one.limit), "calls": one.calls, "per_unit": one.per_unit, "over": one.over} for one in limits
        ]
        more: dict[str, Any] = {"budget": budget} if limits else {}
        more |= {"sequences": [asdict(one) for one in mined]} if mined else {}
        more |= {"what_if": tried} if tried else {}
        print(json.dumps(as_dict(diagnosis) | more, indent=1))
    elif form == "sarif":
        from peephole.diagnose.detectors import detectors
        from peephole.report.sarif import sarif

        titles = {slug: detector.title for slug, detector in detectors().items()}
        broken = [(one.limit.program, one.sentence()) for one in limits if one.over]
        print(json.dumps(sarif(diagnosis.findings, titles, broken), indent=1))
    elif form == "junit":
        from peephole.report.junit import junit

        names = [(f"{o.limit.program} {o.limit.call or 'calls'}", o.sentence(), o.over) for o in limits]
        print(junit(diagnosis.findings, names), end="")
    else:
        print_findings(diagnosis)
        _print_limits(limits)
        print_sequences(mined)
        if tried:
            from peephole.cli.what_if import print_what_if

            print_what_if(tried)


def _print_limits(limits: list[Any]) -> None:
    from peephole.report.words import plain

    for one in limits:
        print(plain(f"{'OVER BUDGET' if one.over else 'within budget'}: {one.sentence()}"))


def print_sequences(mined: list[Any]) -> None:
    """Frequent sequences that no detector names, a line each."""
    from peephole.report.words import plain

    for one in mined:
        time = "" if one.share_of_time is None else f", {one.share_of_time:.0%} of its time"
        what = f"{' -> '.join(one.calls)}: {one.times:,} times along one {one.along} of {one.program}"
        print(plain(f"{what}, {one.share_of_calls:.0%} of its calls{time}"))


def write_skeletons(folder: Path, mined: list[Any]) -> None:
    """One rule's folder for each sequence that has another set of calls."""
    from peephole.prove.skeleton import rule_name, write_skeleton

    first = {rule_name(one.calls): one for one in reversed(mined)}
    for one in first.values():
        print(f"skeleton: {write_skeleton(folder, one.calls, one.program, one.times)}", file=sys.stderr)


def show_profile(found: list[Any], form: str, engine: str) -> None:
    """Time by function and by call, capture by capture."""
    from peephole.diagnose.profile import profile

    if form not in ("text", "json"):
        raise UsageError(f"--profile has no {form}; take text or json")
    profiles = [profile(capture, engine) for capture in found]
    if form == "json":
        shown = [asdict(one) for one in profiles]
        print(json.dumps({"schema": "peephole/profile", "version": 1, "profiles": shown}, indent=1))
        return
    for capture, one in zip(found, profiles, strict=True):
        _print_profile(str(capture.folder), one)


def _print_profile(name: str, one: Any) -> None:
    from peephole.report.words import amount, plain

    def time(ns: int | None) -> str:
        return "?" if ns is None else amount(ns / 1e9, "s")

    print(plain(name))
    if one.why_no_functions:
        print(f"functions: {one.why_no_functions}")
    else:
        print(f"  {'alone':>10} {'with calls':>10}  function")
    for f in one.functions[:25]:
        print(plain(f"  {time(f.exclusive_ns):>10} {time(f.inclusive_ns):>10}  {f.name} ({f.library})"))
    print(f"  {'calls':>10} {'errors':>8} {'on CPU':>10} {'inside':>10} {'waiting':>10}  call")
    for c in one.calls[:25]:
        times = f"{time(c.sampled_ns):>10} {time(c.inside_ns):>10} {time(c.blocked_ns):>10}"
        print(plain(f"  {c.calls:>10,} {c.errors:>8,} {times}  {c.name}"))


def as_dict(diagnosis: Any) -> dict[str, Any]:
    """What `--json` prints; docs/cli.md describes it."""
    return {
        "schema": "peephole/findings",
        "version": 1,
        "findings": [asdict(finding) for finding in diagnosis.findings],
        "lost": diagnosis.lost,
        "withheld": diagnosis.withheld,
    }


def sentence(diagnosis: Any) -> str:
    """The answer in one sentence."""
    from peephole.report.words import amount, plain

    if not diagnosis.findings:
        return "nothing worth changing"
    first = diagnosis.findings[0]
    more = len(diagnosis.findings) - 1
    what = f"{first.slug}: {first.calls:,} calls of {first.program} on {first.object}"
    if first.saving:
        text = f"{what}; removing them saves about {amount(first.saving.ns / 1e9, 's')} of CPU"
    else:
        text = f"{what}; they wait {amount(first.blocked_ns / 1e9, 's')}"
    return plain(text + (f", and {more} more finding{'s' if more > 1 else ''}" if more else ""))


def print_findings(diagnosis: Any) -> None:
    """The sentence, the table, what to do, what could not be judged."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from peephole.report.words import plain, rules_of

    # A pipe gets plain lines of a fixed width, a terminal its own width.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    console.print(sentence(diagnosis), style="bold", markup=False, soft_wrap=True)
    if diagnosis.findings:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for name, right in (
            ("waste", 0),
            ("kind", 0),
            ("program", 0),
            ("on", 0),
            ("calls", 1),
            ("saves", 1),
            ("rule", 0),
        ):
            table.add_column(name, justify="right" if right else "left", overflow="fold")
        for f in diagnosis.findings:
            saves = _saves(f)
            cells = (
                f.slug,
                f.kind,
                f.program,
                f.object,
                f"{f.calls:,}",
                saves,
                rules_of(f.rule, f.needs) or "none: advice only",
            )
            table.add_row(*(_cell(plain_lines(cell)) for cell in cells))
        console.print()
        console.print(table)
        for f in {(f.slug, f.program, f.advice): f for f in diagnosis.findings}.values():
            given = f"; the rule gives up {', '.join(f.gives_up)}" if f.gives_up else ""
            console.print(f"{f.slug} ({plain(f.program)}): {plain(f.advice)}{given}", markup=False, soft_wrap=True)
            console.print(f"  called from: {plain(' -> '.join(f.layer))}", markup=False, soft_wrap=True)
            for slug, calls in f.overlaps.items():
                console.print(f"  {slug} names {calls:,} of these calls, too; each is counted once", markup=False)
        console.print("`peephole explain SLUG` tells more; savings are estimates from calibrated prices", markup=False)
    if diagnosis.lost:
        console.print(
            f"{diagnosis.lost:,} events were lost while recording; {diagnosis.withheld:,} instances rest on what is"
            " missing and were left out",
            markup=False,
            soft_wrap=True,
        )


def _saves(finding: Any) -> str:
    from peephole.report.words import amount

    lines = []
    if finding.saving:
        low, high = (amount(ns / 1e9, "s") for ns in (finding.saving.low, finding.saving.high))
        lines = [amount(finding.saving.ns / 1e9, "s"), f"({low} to {high})"]
    if finding.blocked_ns:
        lines.append(f"waits {amount(finding.blocked_ns / 1e9, 's')}")
    return "\n".join(lines) or "not known"


def plain_lines(text: str) -> str:
    """`plain` for text of our own line breaks."""
    from peephole.report.words import plain

    return "\n".join(plain(line) for line in text.split("\n"))


def _cell(text: str) -> Any:
    from rich.text import Text

    return Text(text)

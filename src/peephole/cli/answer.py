"""A result as people read it on a terminal: the sentence, the table, what was given up, hits, what was not covered."""

from __future__ import annotations

import shlex
import sys
import textwrap
from typing import Any

from peephole.evaluate.result import Result
from peephole.evaluate.statistics import Figure
from peephole.report.words import amount, interval_text, plain, rules_of, sentence


def print_result(result: Result) -> None:
    """Print the whole answer on standard output."""
    from rich.console import Console

    # A pipe gets plain lines of a fixed width, a terminal its own width.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100, soft_wrap=False)
    console.print(plain(sentence(result)), style="bold", markup=False)
    if result.figures:
        console.print()
        console.print(_figures(result))
    _findings(console, result)
    _rules(console, result)
    _given_up(console, result)
    _declined(console, result)
    for difference in result.differences:
        _item(console, f"differs: {difference}")
    for missed in result.not_covered:
        _item(console, f"not covered: {missed['exe']} (pid {missed['pid']}): {missed['why']}")
    for warning in result.warnings:
        _item(console, f"warning: {warning.name}: {warning.advice}")
    _footer(console, result)


def _item(console: Any, text: str, indent: str = "") -> None:
    """A line; where it must be broken the rest stands further in, and no name is broken."""
    lines = textwrap.wrap(
        plain(text),
        max(console.width, 40),
        initial_indent=indent,
        subsequent_indent=indent + "    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def _table(*columns: tuple[str, str]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, justify in columns:
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    return table


def _figures(result: Result) -> Any:
    columns = (("figure", "left"), ("before", "right"), ("after", "right"), ("after/before", "right"))
    table = _table(*columns, ("99 % interval", "left"), ("pairs", "right"))
    for name, figure in result.figures.items():
        mark = "*" if name == result.primary else " "
        table.add_row(*(f"{mark}{plain(name)}", *_cells(figure)))
    return table


def _cells(figure: Figure) -> tuple[str, str, str, str, str]:
    ratio = "-" if figure.ratio is None else f"{figure.ratio:.3f}"
    return (
        amount(figure.before, figure.unit),
        amount(figure.after, figure.unit),
        ratio,
        interval_text(figure),
        str(figure.pairs),
    )


MOST_FINDINGS = 5  # on the terminal; the report has them all


def _findings(console: Any, result: Result) -> None:
    if result.findings:
        console.print("\nfindings:", markup=False)
    for one in result.findings[:MOST_FINDINGS]:
        worth = f", worth {amount(one['saving']['ns'] / 1e9, 's')} of CPU a run" if one["saving"] else ""
        by = f"removed by {rules_of(one['rule'], one.get('needs', ()))}" if one["rule"] else one["advice"]
        text = f"{one['slug']}: {one['calls']:,} calls of {one['program']} on {one['object']}{worth}; {by}"
        _item(console, text, "  ")
    if len(result.findings) > MOST_FINDINGS:
        console.print(f"  and {len(result.findings) - MOST_FINDINGS} more, in the report", markup=False)


def _rules(console: Any, result: Result) -> None:
    if not result.rules:
        return
    console.print()
    table = _table(
        ("rule", "left"), ("trust", "left"), ("hits", "right"), ("settled", "right"), ("not applied because", "left")
    )
    for rule in result.rules:
        why = ", ".join(f"{name} {count}" for name, count in rule.why_not.items() if count) or "-"
        off = f"; switched off: {rule.switched_off}" if rule.switched_off else ""
        table.add_row(rule.name, rule.trust, f"{rule.hits:,}", f"{rule.settled:,}", plain(why + off))
    console.print(table)


def _given_up(console: Any, result: Result) -> None:
    if not result.rules:
        return
    console.print()
    if not result.given_up:
        console.print("given up: nothing", markup=False)
        return
    together: dict[tuple[str, str, str], list[str]] = {}
    for given in result.given_up:
        place = f"below {', '.join(given.where)}" if given.where else "everywhere"
        bound = f":{given.bound}" if given.bound else ""
        key = (", ".join(given.rules), place, given.profile or "any profile")
        together.setdefault(key, []).append(given.guarantee + bound)
    for (rules, place, profile), names in together.items():
        _item(console, f"given up by {rules} {place} ({profile}): {', '.join(names)}")


def _declined(console: Any, result: Result) -> None:
    for one in result.declined:
        _item(console, f"not applied: {one['rule']}: {one['why']}")


def _footer(console: Any, result: Result) -> None:
    cost = result.self_cost
    if cost:
        console.print(
            f"peephole itself: {cost['seconds']:.1f} s in all, {cost['runs']} runs of the command, "
            f"{cost['cpu_s']:.1f} s of CPU of its own",
            markup=False,
        )
    if "seed" in result.conditions and result.pairs:
        console.print(f"seed {result.conditions['seed']}; conditions are in the report", markup=False)
    if result.paths:
        console.print(f"report: {shlex.quote(result.paths['report'])}", markup=False, soft_wrap=True)

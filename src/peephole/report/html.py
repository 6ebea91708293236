"""The report: one self-contained HTML file, no network, no scripts."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from peephole.evaluate.result import Result
from peephole.evaluate.whole import write_whole
from peephole.report.charts import Point, calls_chart, forest_chart, ratio_chart
from peephole.report.markup import items, page, pairs, section, table, text
from peephole.report.proofs import proof_tables
from peephole.report.seen import captures_of, flames, timelines
from peephole.report.words import amount, interval_text, long_name, program, rules_of, sentence

_NAMES = {"gain": "gain", "no-gain": "no gain", "loss": "loss", "different": "different", "failed": "failed"}


def write_report(result: Result, path: Path) -> None:
    """Write the report of a result, whole or not at all."""
    write_whole(path, report(result, path.parent))


def report(result: Result, folder: Path | None = None) -> str:
    """The report of a result: the answer, the table, the evidence, what was not checked.

    The captures in `folder`, if there are any, give the timelines and the flame graph.
    """
    captures = captures_of(folder)
    parts = [
        ("figures", "Before and after", _figures(result)),
        ("pairs", "Pair by pair", _pairs(result)),
        ("calls", "System calls", _calls(result)),
        ("findings", "Findings", findings(result.findings)),
        ("rules", "What was changed", _rules(result)),
        ("given-up", "What was given up", _given_up(result)),
        ("proofs", "What was proved", proof_tables(result.proofs)),
        ("differences", "Differences", items(str(d) for d in result.differences) if result.differences else ""),
        ("declined", "Not applied", _declined(result)),
        ("timeline", "When the calls were made", timelines(captures)),
        ("flame", "Where the time went", flames(captures)),
        ("not-covered", "Not covered", _not_covered(result)),
        ("warnings", "Warnings", items(f"{w.name}: {w.advice}" for w in result.warnings) if result.warnings else ""),
        ("conditions", "Conditions", _conditions(result)),
        ("repeat", "How to repeat", _repeat(result)),
    ]
    return whole(sentence(result), "Peephole result", _head(result), parts)


def whole(title: str, kind: str, head: str, parts: list[tuple[str, str, str]]) -> str:
    """A page from its sections (anchor, title, body); empty ones are left out."""
    shown = [part for part in parts if part[2]]
    links = "".join(f'<li><a href="#{anchor}">{text(name)}</a></li>' for anchor, name, _ in shown)
    body = f'<header>\n<p class="kind">{text(kind)}</p>\n<h1>{text(title)}</h1>\n{head}</header>\n'
    body += f'<nav aria-label="Contents"><ul>{links}</ul></nav>\n'
    body += "<main>\n" + "".join(section(*part) for part in shown) + "</main>\n"
    return page(title, body)


def _head(result: Result) -> str:
    name = _NAMES.get(result.verdict, result.verdict)
    badge = f'<span class="verdict {text(result.verdict)}">{text(name)}</span>'
    line = f"<p>{badge} {text(result.reason)}.</p>\n"
    given = ", ".join(sorted({g.guarantee for g in result.given_up})) or "nothing"
    line += f"<p>Given up: {text(given)}.</p>\n" if result.rules else ""
    return f'<p class="command">{text(shlex.join(result.command))}</p>\n{line}{_tiles(result)}'


TILES = ("cpu", "wall", "syscalls", "bytes_written")


def _tiles(result: Result) -> str:
    """The figures that people ask for first, in large letters."""
    names = dict.fromkeys((result.primary, *TILES))
    tiles = ""
    for name in list(names):
        figure = result.figures.get(name)
        if figure is None:
            continue
        before, after = amount(figure.before, figure.unit), amount(figure.after, figure.unit)
        change = "" if figure.ratio is None else f"{figure.ratio:.2f} ×"
        tiles += (
            f'<div class="tile"><dt>{text(long_name(name))}</dt><dd><b>{text(change)}</b> '
            f"{text(before)} → {text(after)}</dd></div>\n"
        )
    return f'<dl class="tiles">\n{tiles}</dl>\n' if tiles else ""


def _figures(result: Result) -> str:
    if not result.figures:
        return ""
    rows = []
    for name, figure in result.figures.items():
        label = long_name(name) + (" (primary)" if name == result.primary else "")
        label += " (more is better)" if figure.better == "higher" else ""
        ratio = "-" if figure.ratio is None else f"{figure.ratio:.3f}"
        before, after = amount(figure.before, figure.unit), amount(figure.after, figure.unit)
        rows.append((label, before, after, ratio, interval_text(figure) if figure.pairs > 1 else "counted once"))
    heads = ("Figure", "Before", "After", "Ratio", "99 % interval")
    note = (
        f"Medians of {result.pairs} pairs, and the ratio after/before that the pairs give, with its interval. "
        "System calls are counted in runs of their own."
    )
    return table(note, heads, rows, numbers=(1, 2, 3)) + _forest(result)


def _forest(result: Result) -> str:
    """All ratios in one picture."""
    rows = [
        (long_name(name), figure.ratio, figure.low, figure.high, f"{figure.ratio:.3f}")
        for name, figure in result.figures.items()
        if figure.ratio is not None
    ]
    if len(rows) < 2:
        return ""
    caption = "Ratios after/before: left of the dashed line is less. A ring is the ratio, the line its interval."
    return f"<figure>\n{forest_chart(rows)}<figcaption>{text(caption)}</figcaption>\n</figure>\n"


def _pairs(result: Result) -> str:
    figure = result.figures.get(result.primary)
    ratios = [(r["pair"], r["ratios"].get(result.primary), r["first"]) for r in result.ratios]
    points = [Point(pair, ratio, first) for pair, ratio, first in ratios if ratio is not None]
    if figure is None or figure.ratio is None or not points:
        return ""
    low, high = figure.low, figure.high
    if high is not None and high > 3 * max(point.ratio for point in points):
        low = high = None  # of too few pairs: the band would hide the marks
    chart = ratio_chart(points, figure.ratio, low, high, long_name(result.primary))
    caption = (
        f"Each mark is one pair's ratio of {long_name(result.primary)}, after/before; "
        "below the dashed line at 1 is less. A ring: the unchanged run came first; a filled diamond: the improved one. "
        "The line is the median, the band its interval."
    )
    return f"<figure>\n{chart}<figcaption>{text(caption)}</figcaption>\n</figure>\n"


def _calls(result: Result) -> str:
    before, after = result.calls.get("before"), result.calls.get("after")
    if not before:
        return ""
    return calls_figure(before, after)


def calls_figure(before: dict[str, int], after: dict[str, int] | None) -> str:
    """The chart of calls by name, with its caption."""
    total = f"{sum(before.values()):,}"
    if after is not None:
        caption = f"{total} calls before (upper, grey bars), {sum(after.values()):,} after (lower, blue bars)."
    else:
        caption = f"{total} calls in all."
    return f"<figure>\n{calls_chart(before, after)}<figcaption>{text(caption)}</figcaption>\n</figure>\n"


def _rules(result: Result) -> str:
    if not result.rules:
        return "<p>Nothing: no rule was applied.</p>\n"
    rows = [
        (
            rule.name,
            rule.trust,
            f"{rule.hits:,}",
            f"{rule.settled:,}",
            ", ".join(f"{why} {count:,}" for why, count in rule.why_not.items() if count) or "-",
            rule.switched_off or "no",
        )
        for rule in result.rules
    ]
    heads = ("Rule", "Trust", "Hits", "Settled", "Passed through because", "Switched off")
    note = "Hits: calls answered or made cheaper. Settled: how often pending effects were made good. Sums of all runs."
    return table(note, heads, rows, numbers=(2, 3))


def _given_up(result: Result) -> str:
    if not result.rules:
        return ""
    if not result.given_up:
        return "<p>Nothing: every guarantee is kept.</p>\n"
    rows = [
        (g.guarantee, g.bound or "no bound", g.profile or "any", ", ".join(g.rules), ", ".join(g.where) or "everywhere")
        for g in result.given_up
    ]
    heads = ("Guarantee", "Bound", "File-system profile", "By rule", "Where")
    stories = "" if result.proofs else _stories(result.stories)
    return table("Guarantees that no longer hold, as the proofs found.", heads, rows) + stories


def _stories(stories: list[dict[str, Any]]) -> str:
    found = ""
    for story in stories:
        lines = "\n".join(text(line) for line in story["story"])
        title = f"{story['guarantee']}, given up by {story['rule']}"
        found += f'<div class="item"><h3>{text(title)}</h3>\n<p>How it can show:</p>\n<pre>{lines}</pre></div>\n'
    return found


def findings(found: list[dict[str, Any]]) -> str:
    """Findings as items, the dearest first as diagnosis gives them."""
    body = ""
    for one in found:
        saving = one.get("saving")
        worth = "not estimated"
        if saving:
            low, high = amount(saving["low"] / 1e9, "s"), amount(saving["high"] / 1e9, "s")
            worth = f"{amount(saving['ns'] / 1e9, 's')} of CPU a run ({low} to {high})"
        removed = f"removed by {rules_of(one['rule'], one.get('needs', ()))}" if one["rule"] else "advice only"
        gives = f"; gives up {', '.join(one['gives_up'])}" if one["gives_up"] else ""
        body += (
            f'<div class="item"><h3>{text(one["slug"])}: {text(one["object"])}</h3>\n'
            f"<p>{one['calls']:,} calls of {text(program([one['program'] or '?']))}, {text(one['kind'])}; "
            f"removing them is worth {text(worth)}; {text(removed + gives)}.</p>\n"
            f"{_layer(one.get('layer'))}"
            f"<p>{text(one['advice'])}</p></div>\n"
        )
    return body


def _layer(chain: list[str] | None) -> str:
    return f"<p>Hidden by: {text(' → '.join(chain))}</p>\n" if chain else ""


def _declined(result: Result) -> str:
    return items(f"{one['rule']}: {one['why']}" for one in result.declined) if result.declined else ""


def _not_covered(result: Result) -> str:
    if result.not_covered:
        rows = [(one["exe"], one["pid"], one["why"]) for one in result.not_covered]
        return table("Processes in which no rule could act.", ("Program", "Process", "Why"), rows, numbers=(1,))
    return "<p>No process of the command was left out.</p>\n" if result.rules else ""


def _conditions(result: Result) -> str:
    shown: list[tuple[str, object]] = [
        (name.replace("_", " "), _value(v)) for name, v in result.conditions.items() if name != "repeat"
    ]
    cost = result.self_cost
    if cost:
        own = f"{cost['seconds']} s in all, {cost['cpu_s']} s of CPU of its own, {cost['runs']} runs of the command"
        shown.append(("peephole itself", own))
    return pairs(shown) if shown else ""


def _value(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(_value(v) for v in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{k} {_value(v)}" for k, v in value.items())
    return "none" if value is None else str(value)


def _repeat(result: Result) -> str:
    again = result.conditions.get("repeat")
    if not again:
        return ""
    body = f"<pre>{text(again)}</pre>\n"
    if result.paths:
        body += pairs(sorted(result.paths.items()))
    return body

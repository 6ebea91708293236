"""Pieces of HTML. Every text from outside goes through `text`: names are hostile."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from peephole.report.words import plain

_STYLE = Path(__file__).with_name("style.css")


def text(value: object) -> str:
    """A value as HTML text: control characters spelled out, markup escaped."""
    return html.escape(plain(str(value)), quote=True)


def page(title: str, body: str) -> str:
    """A whole document; it asks nothing of the network, and may not."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>\n{_STYLE.read_text()}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )


def section(anchor: str, title: str, body: str) -> str:
    """A section with a heading that the contents can link to."""
    return f'<section aria-labelledby="{anchor}">\n<h2 id="{anchor}">{text(title)}</h2>\n{body}</section>\n'


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[int] = ()) -> str:
    """A table: first column names the row; columns whose index is in `numbers` are right-aligned."""

    def cell(tag: str, index: int, value: object) -> str:
        scope = ' scope="row"' if tag == "th" else ""
        right = ' class="number"' if index in numbers else ""
        return f"<{tag}{scope}{right}>{text(value)}</{tag}>"

    head = "".join(
        f'<th scope="col"{" class=" + chr(34) + "number" + chr(34) if i in numbers else ""}>{text(h)}</th>'
        for i, h in enumerate(heads)
    )
    body = "\n".join(
        "<tr>" + "".join(cell("td" if i else "th", i, value) for i, value in enumerate(row)) + "</tr>" for row in rows
    )
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{text(caption)}">\n<table>\n'
        f"<caption>{text(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>\n"
    )


def items(values: Iterable[str]) -> str:
    """A list of texts."""
    return "<ul>\n" + "".join(f"<li>{text(value)}</li>\n" for value in values) + "</ul>\n"


def pairs(values: Iterable[tuple[str, object]]) -> str:
    """Names and values."""
    return "<dl>\n" + "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>\n" for name, value in values) + "</dl>\n"

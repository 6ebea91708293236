"""Which layer makes a program's calls: the chain from the program down to the C library, from sampled stacks."""

from __future__ import annotations

from collections import Counter

from peephole.diagnose.symbols import readable_name
from peephole.diagnose.tables import Tables

#: chains longer than this are cut in the middle: who began it, and who made the call, matter
CHAIN_MAX = 5


def chains(tables: Tables) -> dict[tuple[str, str], list[str]]:
    """(program, call) -> the commonest chain that made it, outermost first: `pdftotext: main`, `libpoppler: ...`.

    Empty where the capture has no stacks. Neighbouring functions of one file are one link, named by the innermost.
    """
    import ibis
    from ibis import _

    frames = tables.extra("stacks.parquet")
    if frames is None or "stack" not in tables.recorded.columns:
        return {}
    seen = tables.recorded.filter(_.stack.notnull()).mutate(name=_.name.cast("string"))
    seen = seen.group_by("image", "name", "stack").aggregate(n=_.count())
    rows = seen.join(tables.programs, "image").group_by("program", "name", "stack").aggregate(n=_.n.sum())
    of_stack: dict[int, list[str]] = {}
    named = frames.select(
        "stack", "depth", "function", library=ibis.coalesce(_.library.cast("string"), _.file)
    ).order_by("stack", "depth")
    for row in named.to_pyarrow().to_pylist():
        of_stack.setdefault(row["stack"], []).append(_link(row["library"], row["function"]))
    counts: dict[tuple[str, str], Counter[tuple[str, ...]]] = {}
    for row in rows.to_pyarrow().to_pylist():
        chain = _chain(of_stack.get(row["stack"], []))
        if chain:
            counts.setdefault((row["program"], row["name"]), Counter())[chain] += row["n"]
    return {key: list(found.most_common(1)[0][0]) for key, found in counts.items()}


def _link(library: str | None, function: str | None) -> str:
    file = (library or "?").rsplit("/", 1)[-1]
    return f"{file}: {readable_name(function)}" if function else file


def _file(link: str) -> str:
    return link.split(": ")[0]


def _chain(links: list[str]) -> tuple[str, ...]:
    """Outermost first, one link a file; `links` are innermost first."""
    shown: list[str] = []
    for link in links:
        if not shown or _file(shown[-1]) != _file(link):
            shown.append(link)
    if len(shown) > CHAIN_MAX:
        shown = [*shown[: CHAIN_MAX - 2], "...", shown[-1]]
    return tuple(reversed(shown))

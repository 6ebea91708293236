"""peephole explain: a detector's page."""

from __future__ import annotations

import click


@click.command("explain")
@click.argument("slug", required=False)
@click.option("--index", "as_index", is_flag=True, help="Print the list as docs/detectors.md has it.")
def command(slug: str | None, as_index: bool) -> None:
    """Explain a kind of waste: why it costs, what rewrites it, what that gives up. Without SLUG, list them."""
    from peephole.diagnose.catalogue import index
    from peephole.diagnose.detectors import detectors
    from peephole.diagnose.gives_up import exists

    if as_index:
        click.echo(index(), nl=False)
        return

    known = detectors()
    if slug is None:
        width = max(len(name) for name in known)
        for name, detector in known.items():
            click.echo(f"{name:<{width}}  {detector.kind:<10} {detector.title}")
        return
    if slug not in known:
        raise _unknown(slug, list(known))
    detector = known[slug]
    click.echo(detector.page)
    click.echo(f"\nKind\n    {detector.kind}")
    if detector.rule and not exists(detector.rule):
        click.echo(f"\nRule\n    {detector.rule} is not part of this Peephole: the finding is advice")
    click.echo(f"\nWithout Peephole\n    {detector.advice}")
    for name, text in list(detector.fires.items())[:1]:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        click.echo(f"\nExample: {name}")
        for line in lines[:8]:
            click.echo(f"    {line}")
        if len(lines) > 8:
            click.echo(f"    ... ({len(lines) - 8} more lines)")


def _unknown(slug: str, known: list[str]) -> Exception:
    import difflib

    from peephole.errors import UsageError

    # Words of a slug match too: `stat` finds repeated_stat.
    close = difflib.get_close_matches(slug, known, cutoff=0.5) or [name for name in known if slug in name]
    hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known)}"
    return UsageError(f"no waste is called {slug!r}; {hint}")

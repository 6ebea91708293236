"""The rules that `--rules`, `--plan` and `--allow` choose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peephole.errors import UsageError


def chosen(rules: str | None, plan: Path | None, allow: str | None) -> tuple[list[str], Any]:
    """The rules' names, and the mounts that they may act on."""
    if (rules is None) == (plan is None):
        raise UsageError("give one of --rules LIST, --rules none, --plan FILE")
    from peephole.improve.consent import parse

    allowed = parse(allow)
    if plan is not None:
        from peephole.improve.plan import load

        loaded = load(plan)
        return loaded.names(), loaded.mounts
    assert rules is not None
    names = [word.strip() for word in rules.split(",") if word.strip()]
    if not names or names == ["none"]:
        return [], None
    from peephole.improve.places import mounted
    from peephole.improve.plan import of_rules

    # Any mount may be written to; the kernel's own file systems have no profile and are left out.
    made = of_rules(names, [place for place in mounted() if place.profile is not None], allowed)
    return made.names(), made.mounts


def prices(plan: Path | None) -> dict[str, int]:
    """What a call of each of the plan's rules may save, where it says."""
    from peephole.improve.plan import load

    return load(plan).prices() if plan is not None else {}


def scheduling(rules: str | None, allow: str | None) -> tuple[str | None, bool]:
    """`rules` without `realtime_audio`, and whether it was there: it is scheduling, and has no place in a plan.

    Raises UsageError without consent.
    """
    from peephole.improve.scheduling import GIVES_UP, NAME

    names = [word.strip() for word in (rules or "").split(",")]
    if NAME not in names:
        return rules, False
    from peephole.improve.consent import parse

    if not parse(allow).covers(GIVES_UP, None):
        raise UsageError(f"{NAME} gives up {GIVES_UP}: others wait while such a thread runs; add --allow {GIVES_UP}")
    return ",".join(name for name in names if name != NAME) or "none", True

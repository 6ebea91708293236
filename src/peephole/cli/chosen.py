"""The rules that `--rules`, `--plan` and `--allow` choose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from peephole.errors import UsageError

if TYPE_CHECKING:
    from peephole.improve.plan import Plan


def chosen(
    rules: str | None, plan: Path | None, allow: str | None, force: tuple[str, ...] = (), again: bool = False
) -> Plan:
    """The plan that was named, or one of the rules that were; `force` adds rules, `again` proves the others first."""
    if (rules is None) == (plan is None):
        raise UsageError("give one of --rules LIST, --rules none, --plan FILE")
    from peephole.improve.consent import parse
    from peephole.improve.plan import Plan, of_rules
    from peephole.improve.plan_file import load

    allowed = parse(allow)
    if plan is not None:
        return load(plan, force=force, again=again)
    names = [word for word in words(rules) if word != "none"]
    from peephole.improve.ahead import NAME

    if NAME in (*names, *force):
        raise UsageError(
            f"{NAME} reads ahead what a plan lists; make one with peephole tune, or with observe and plan, "
            "and give it with --plan"
        )
    if not names and not force:
        return Plan()
    from peephole.improve.places import mounted

    # Any mount may be written to; the kernel's own file systems have no profile and are left out.
    usable = [place for place in mounted() if place.profile is not None]
    return of_rules(names, usable, allowed, force, again)


def words(rules: str | None) -> list[str]:
    """The words of a list of rules."""
    return [word.strip() for word in (rules or "").split(",") if word.strip()]


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

"""The rules that `--rules`, `--plan` and `--allow` choose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peephole.errors import UsageError


def chosen(rules: str | None, plan: Path | None, allow: str | None) -> tuple[list[str], Any]:
    """The rules' names, and the mounts that they may act on."""
    if (rules is None) == (plan is None):
        raise UsageError("give one of --rules LIST, --rules none, --plan FILE")
    if plan is not None:
        from peephole.improve.plan import load

        loaded = load(plan)
        return loaded.names(), loaded.mounts
    assert rules is not None
    names = [word.strip() for word in rules.split(",") if word.strip()]
    if not names or names == ["none"]:
        return [], None
    from peephole.improve.consent import parse
    from peephole.improve.places import mounted
    from peephole.improve.plan import of_rules

    made = of_rules(names, mounted(), parse(allow))
    return made.names(), made.mounts

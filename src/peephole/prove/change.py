"""A wrong neighbour as the small change to its rule that it is: `refuted/NAME.change`.

Its first lines are what would be its docstring. Then, with empty lines between them, changes: lines that begin with
`-` stand in rule.py and become those that begin with `+`, wherever they stand; a space marks a line that stays.
"""

from __future__ import annotations

import re
from pathlib import Path

from peephole.errors import RuleError

SUFFIX = ".change"


def split(text: str) -> tuple[str, list[str]]:
    """What it says, and its changes."""
    said, *rest = re.split(r"^(?=[-+ ])", text, maxsplit=1, flags=re.M)
    return said.strip(), re.split(r"\n\n+", rest[0].rstrip("\n")) if rest else []


def apply(source: str, path: Path) -> tuple[str, str]:
    """The neighbour's text, made of its rule's, and its docstring. Raises RuleError when a change does not fit."""
    said, changes = split(path.read_text(encoding="utf-8"))
    if not changes:
        raise RuleError(f"{path}: it changes nothing; `-` marks lines of rule.py, `+` those in their place")
    source = f"\n{source}"
    for change in changes:
        lines = change.splitlines()
        old, new = ("".join(f"\n{s[1:]}" for s in lines if s[:1] in (" ", sign)) for sign in "-+")
        if any(s[:1] not in (" ", "-", "+") for s in lines) or not old or old == new:
            raise RuleError(
                f"{path}: lines begin with `-`, `+` or a space, some of which stand in rule.py: `{lines[0]}`"
            )
        if f"{old}\n" not in source:
            there = [s[1:] for s in lines if s[0] != "+"]
            missing = next((s for s in there if f"\n{s}\n" not in source), there[0])
            raise RuleError(f"{path}: rule.py does not have this line, or not there (any more): `{missing.strip()}`")
        source = source.replace(f"{old}\n", f"{new}\n")
    return source[1:], said

"""What a rule's text says it gives up."""

from __future__ import annotations

import ast
from pathlib import Path

RULES = Path(__file__).resolve().parent.parent / "rules"


def rules() -> list[str]:
    """The rules that there are."""
    return sorted(source.parent.name for source in RULES.glob("*/rule.py"))


def exists(rule: str) -> bool:
    """Whether there is such a rule."""
    return _text(rule).exists()


def acts_beside(rule: str) -> bool:
    """Whether a rule acts beside the program: none of its calls is rewritten, and nothing is to be proved of it."""
    return (RULES / rule / "beside.py").exists()


def _text(rule: str) -> Path:
    return RULES / rule / ("beside.py" if acts_beside(rule) else "rule.py")


def gives_up(rule: str) -> list[str]:
    """The guarantees in the rule's `relaxes` and `relaxes_on`, by the names that --allow takes."""
    source = _text(rule)
    if not source.exists():
        return []
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if node.targets[0].id == "relaxes":
                names |= _names(node.value)
            elif node.targets[0].id == "relaxes_on" and isinstance(node.value, ast.Dict):
                names |= {name for value in node.value.values for name in _names(value)}
    return sorted(names)


def _names(node: ast.AST) -> set[str]:
    # An empty set can only be spelled `set()`.
    return {part.id.lower().replace("_", "-") for part in ast.walk(node) if isinstance(part, ast.Name)} - {"set"}

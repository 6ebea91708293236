"""`python -m bench NAME [--json]`: one benchmark's figures and the conditions they were measured under.

A benchmark is a module of this package with `measure() -> {"figures": {...}, "conditions": {...}}`.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from pathlib import Path
from typing import Any


def names() -> list[str]:
    """The benchmarks there are."""
    here = Path(__file__).parent
    texts = {m.name: here / f"{m.name}.py" for m in pkgutil.iter_modules([str(here)])}
    return sorted(n for n, path in texts.items() if path.exists() and "\ndef measure(" in path.read_text())


def show(found: dict[str, Any]) -> None:
    """Figures, then conditions, one a line."""
    for part in ("figures", "conditions"):
        print(f"{part}:")
        for name, value in found[part].items():
            print(f"  {name:40} {value:.4g}" if isinstance(value, float) else f"  {name:40} {value}")


def main() -> int:
    words = [word for word in sys.argv[1:] if word != "--json"]
    as_json = "--json" in sys.argv[1:]
    if len(words) != 1 or words[0] not in names():
        print(f"usage: python -m bench NAME [--json]; NAME is one of {', '.join(names())}", file=sys.stderr)
        return 2
    module = importlib.import_module(f"bench.{words[0]}")
    if not as_json and hasattr(module, "main"):
        return int(module.main())
    found = module.measure()
    print(json.dumps(found)) if as_json else show(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m bench NAME [OPTIONS] [--json]`: one benchmark's figures and the conditions they were measured under.

A benchmark is a module or a folder of this package, or a folder of `programs/`, with
`measure() -> {"figures": {...}, "conditions": {...}}`. One that has options of its own also has `options(words)`, whose
result `measure` takes.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import signal
import sys
from pathlib import Path
from typing import Any

from bench.servers import NoBench


def benches() -> dict[str, str]:
    """The benchmarks there are: name -> module."""
    here = Path(__file__).parent
    texts = {f"bench.{m.name}": here / f"{m.name}.py" for m in pkgutil.iter_modules([str(here)])}
    texts |= {f"bench.{path.parent.name}": path for path in here.glob("*/__init__.py")}
    texts |= {f"bench.programs.{path.parent.name}": path for path in here.glob("programs/*/__init__.py")}
    found = sorted(n for n, path in texts.items() if path.exists() and "\ndef measure(" in path.read_text())
    return {name.rsplit(".", 1)[1]: name for name in found}


def show(found: dict[str, Any]) -> None:
    """Figures, then conditions, one a line."""
    for part in ("figures", "conditions"):
        print(f"{part}:")
        for name, value in found[part].items():
            print(f"  {name:40} {value:.4g}" if isinstance(value, float) else f"  {name:40} {value}")


def _terminate(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)


def main() -> int:
    signal.signal(signal.SIGTERM, _terminate)  # what is mounted or started is undone on the way out
    words = [word for word in sys.argv[1:] if word != "--json"]
    as_json = "--json" in sys.argv[1:]
    known = benches()
    module = importlib.import_module(known[words[0]]) if words and words[0] in known else None
    if module is None or (len(words) > 1 and not hasattr(module, "options")):
        print(f"usage: python -m bench NAME [--json]; NAME is one of {', '.join(known)}", file=sys.stderr)
        return 2
    if not as_json and hasattr(module, "main"):
        return int(module.main())
    try:
        found = module.measure(module.options(words[1:])) if hasattr(module, "options") else module.measure()
    except NoBench as e:
        print(f"bench {words[0]}: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"bench {words[0]}: interrupted; everything is stopped, unmounted and removed", file=sys.stderr)
        return 130
    print(json.dumps(found)) if as_json else show(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())

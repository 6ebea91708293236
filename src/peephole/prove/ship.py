"""Proves the rules that come with Peephole and puts their certificates beside them: `python -m peephole.prove.ship`.

The build runs this last, so that the first `tune` finds them. A certificate's name is a digest of the rule, of the
model and of the dispatcher's table: one that fits no longer is not found, and is proved anew.
"""

from __future__ import annotations

import sys
import time

from peephole.errors import PeepholeError
from peephole.prove.certificate import certificate_name, prove_rule, shipped_folder, to_text
from peephole.prove.language import load_rule, rule_names

PATIENCE_S = 40.0  # a build does not begin another proof after this: the rest is proved when first used


def main() -> None:
    """The build's entry; a rule that is not proved is said, and costs nothing but its certificate."""
    folder = shipped_folder()
    folder.mkdir(mode=0o755, exist_ok=True)
    wanted, began = set(), time.monotonic()
    for name in rule_names():
        place = folder / certificate_name(load_rule(name), neighbours=False)
        wanted.add(place)
        if place.exists() or time.monotonic() - began > PATIENCE_S:
            continue
        try:
            proof = prove_rule(name, neighbours=False)
        except PeepholeError as e:
            print(f"peephole: {name} is not proved: {e}", file=sys.stderr)
            continue
        place.write_text(to_text(proof))
        place.chmod(0o644)
        if not proof.proved:
            print(f"peephole: {name} is not proved: {proof.reasons[0]}", file=sys.stderr)
    for old in set(folder.glob("*.json")) - wanted:
        old.unlink()


if __name__ == "__main__":
    main()

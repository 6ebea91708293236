"""Prices with a rule at work, for `peephole.diagnose.calibrate`, which knows of no interposer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from peephole.diagnose import calibrate
from peephole.diagnose.prices import Prices
from peephole.improve.arm import arm


def prices_for(place: Path | str | int) -> Prices:
    """What calls cost on the file system of `place`, alone and with each rule; see `diagnose.calibrate.prices_for`."""
    return calibrate.prices_for(place, with_rule)


@contextmanager
def with_rule(name: str) -> Iterator[Mapping[str, str]]:
    """The environment of a program that this rule acts in, or several ("A+B"), on every mount.

    Raises EngineError where none can.
    """
    with arm(name.split("+")) as armed:
        yield armed.environment(os.environ)

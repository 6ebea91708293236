"""One file, one detector. docs/howto-add-a-detector.md says what such a file holds."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from peephole.diagnose.tables import Tables
from peephole.trace import KINDS


@dataclass(frozen=True)
class Detector:
    """What one file of this folder says."""

    slug: str
    kind: str
    rule: str | None
    layer: tuple[str, ...]
    advice: str
    before: dict[str, str]  # price -> the column that counts how often it is paid now
    after: dict[str, str]  # ... and once rewritten
    page: str
    fires: dict[str, str]
    silent: dict[str, str]
    find: Callable[[Tables], Any]
    calls: tuple[str, ...] = ()  # the calls it may name; where a capture has none of them it is not looked for
    left_alone: str = "another process shares the open file"  # why the rule does not take what is not `handled`
    needs: tuple[str, ...] = ()  # other rules without which `rule` would gain little here
    waiting: bool = False  # what is wasted is time off the CPU: there is no saving of CPU to estimate

    @property
    def title(self) -> str:
        return self.page.splitlines()[0]


def _detector(module: Any) -> Detector:
    page = inspect.cleandoc(module.__doc__)
    if module.KIND not in KINDS:
        raise ValueError(f"{module.__name__}: KIND is {module.KIND!r}, not one of {', '.join(KINDS)}")
    return Detector(
        module.SLUG,
        module.KIND,
        module.RULE,
        module.LAYER,
        module.ADVICE,
        module.BEFORE,
        module.AFTER,
        page,
        module.FIRES,
        module.SILENT,
        module.find,
        module.CALLS,
        getattr(module, "LEFT_ALONE", Detector.left_alone),
        getattr(module, "NEEDS", ()),
        getattr(module, "WAITING", False),
    )


@cache
def detectors() -> dict[str, Detector]:
    """Every detector by its slug, which is its file's name."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__))
    return {name: _detector(importlib.import_module(f"{__name__}.{name}")) for name in names}


def example(text: str) -> list[bytes]:
    """The lines of a FIRES or SILENT example, as `peephole.observe.strace.parse` takes them."""
    return [re.sub(r"^\s+", "", line).encode() + b"\n" for line in text.splitlines() if line.strip()]

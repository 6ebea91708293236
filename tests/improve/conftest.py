"""Running commands plain and improved."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import peephole


@dataclass(frozen=True)
class Ran:
    """One run: exit code (negative: died of that signal), both streams, and the runtime's counters when improved."""

    code: int
    out: bytes
    err: bytes
    stats: dict[str, Any]

    @property
    def seen(self) -> tuple[int, bytes]:
        return self.code, self.out


Runner = Callable[..., Ran]
SOURCE = Path(peephole.__file__).parent


@pytest.fixture
def plain(tmp_path: Path) -> Runner:
    """Run a command as it is."""

    def run(*command: str, **options: Any) -> Ran:
        done = subprocess.run(command, capture_output=True, timeout=options.pop("timeout", 120), **options)
        return Ran(done.returncode if done.returncode >= 0 else 128 - done.returncode, done.stdout, done.stderr, {})

    return run


@pytest.fixture
def improved(tmp_path: Path) -> Runner:
    """Run a command under `peephole improve`, every site patched and no rule."""

    def run(*command: str, **options: Any) -> Ran:
        stats = tmp_path / "stats.json"
        words = [sys.executable, "-m", "peephole", "improve", "--rules", "none", "--stats", str(stats), "--"]
        env = options.pop("env", os.environ)
        done = subprocess.run(
            [*words, *command], capture_output=True, timeout=options.pop("timeout", 120), env=env, **options
        )
        return Ran(done.returncode, done.stdout, done.stderr, json.loads(stats.read_text()) if stats.exists() else {})

    return run


@pytest.fixture
def ruled() -> Runner:
    """Run a command with every rule that there is acting on every local mount."""
    return _with_every_rule(trapping=False)


@pytest.fixture
def trapped() -> Runner:
    """The same, with calls trapped instead of patched."""
    return _with_every_rule(trapping=True)


def _with_every_rule(*, trapping: bool) -> Runner:
    from peephole.improve.arm import arm
    from peephole.improve.launch import examine, find

    rules = sorted(path.parent.name for path in (SOURCE / "rules").glob("*/rule.py"))

    def run(*command: str, **options: Any) -> Ran:
        path = find(command[0], os.environ)
        assert path is not None
        target = examine(path)
        with arm(rules, target=target, trapping=trapping) as armed:
            env = armed.environment(os.environ, target)
            done = subprocess.run(command, capture_output=True, timeout=options.pop("timeout", 120), env=env, **options)
            code = done.returncode if done.returncode >= 0 else 128 - done.returncode
            return Ran(code, done.stdout, done.stderr, dict(armed.stats()))

    return run

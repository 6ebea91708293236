"""Recording for the tests: real commands, real captures."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peephole.observe import ebpf, ptrace
from peephole.observe.launch import Launch


@pytest.fixture(scope="session")
def need_ebpf() -> None:
    if os.geteuid():
        pytest.skip("BPF needs root")
    reason = ebpf.why_not()
    assert reason is None, f"root, and yet no BPF: {reason}"


@pytest.fixture(scope="session")
def need_ptrace() -> None:
    reason = ptrace.why_not()
    if reason:
        pytest.skip(reason)


@pytest.fixture
def record(need_ebpf: None, tmp_path: Path) -> Callable[..., tuple[Any, int]]:
    """Record a command by eBPF; its stdout goes to `stdout` in the test's folder."""

    def run(*command: str, name: str = "capture", **options: Any) -> tuple[Any, int]:
        with (tmp_path / "stdout").open("wb") as stdout:
            return ebpf.record(Launch(list(command), stdout=stdout), tmp_path / name, **options)

    return run

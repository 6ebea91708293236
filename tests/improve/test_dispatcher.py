"""The dispatcher by itself: core/test/dispatch_test.c, with threads, signals and forks."""

from __future__ import annotations

import subprocess

from peephole import native


def test_the_dispatcher_keeps_every_write_under_threads_signals_and_forks() -> None:
    done = subprocess.run([native.path("dispatch_test")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert "all checks hold" in done.stdout

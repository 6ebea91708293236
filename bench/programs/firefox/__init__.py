"""Firefox, headless, on a local page: what it writes, and its time. `python -m bench firefox`.

    warm   a profile that has been used three times before      fresh   a new profile

A session starts Firefox, loads 20 pages, takes a screenshot, stays open for a while and quits; it fails when a page
does not load or a process crashes. The profile lies on a journalled ext4 image, fresh for each run; `bytes` is what
reached the image's device, a closing flush included.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import commands, servers
from bench.commands import Commands, Job
from bench.servers import Options

LOADS = ("warm", "fresh")
IMAGE_BYTES = 700 << 20
TURNS = 20
OPEN_S = 12
PAIRS = 5  # at most: a session takes a quarter of a minute
RULES = ("exchange_rename", "truncate_in_place", "skip_sync")
SESSIONS = 3  # before a profile is warm: the second one still writes the caches that start-up reads
HERE = Path(__file__).parent


def session(profile: Path, shot: Path, seconds: float) -> tuple[str, ...]:
    """The words of one session."""
    script, page = str(HERE / "session.py"), (HERE / "page.html").resolve().as_uri()
    # The system's own Python where there is one: it must not matter whose .venv this is.
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    return (python, "-I", "-S", script, str(profile), page, str(TURNS), str(seconds), str(shot))


def measure(asked: Options | None = None) -> dict[str, Any]:
    """Figures `{warm,fresh}.{cpu,wall,syscalls,bytes}_ratio`, after/before."""
    asked = asked or Options(LOADS)
    servers.installed("firefox-esr", packages="firefox-esr")
    with tempfile.TemporaryDirectory(prefix="peephole-bench-") as name:
        folder = Path(name)

        def fill(top: Path) -> None:
            (top / "out").mkdir()
            for _ in range(SESSIONS if "warm" in asked.loads else 0):
                commands.run(session(top / "warm", folder / "first.png", OPEN_S))

        with servers.ground(IMAGE_BYTES, fill, servers.user("root"), folder) as on:
            bench, out = Commands(asked), on.folder / "out"
            bench.conditions |= {"profile": on.said(), "pages": TURNS, "open_s": OPEN_S}
            for load in asked.loads:
                words = session(on.folder / load, out / "shot.png", OPEN_S)
                same = ("exit", f"files:{out}")
                bench.measure(Job(load, words, RULES, same, on.fresh(), "bytes_written", PAIRS))
            return {"figures": bench.figures, "conditions": bench.conditions | servers.machine()}


def options(words: Sequence[str]) -> Options:
    """The bench's own options."""
    return servers.options(words, LOADS)

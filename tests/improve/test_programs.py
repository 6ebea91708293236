"""Real programs do the same with every system call of theirs patched, and with every rule acting: programs/NAME.sh,
each run in an empty folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = sorted(Path(__file__).with_name("programs").glob("*.sh"))
Runner = Callable[..., Any]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("script", PROGRAMS, ids=lambda path: str(path.stem))
@pytest.mark.parametrize("how", ["improved", "ruled"])
def test_it_does_the_same(
    script: Path, how: str, tmp_path: Path, plain: Runner, request: pytest.FixtureRequest
) -> None:
    needed = script.read_text().splitlines()[0].removeprefix("# needs: ")
    if not shutil.which(needed):
        pytest.skip(f"{needed} is not installed")
    seen = []
    for runner in (plain, request.getfixturevalue(how)):
        folder = tmp_path / "here"
        folder.mkdir()
        ran = runner("bash", str(script), cwd=folder)
        seen.append((ran.code, ran.out.decode(), ran.err.decode()))
        folder.rename(tmp_path / f"done{len(seen)}")
    assert seen[0] == seen[1]
    assert ran.stats["processes"] >= 1

"""Real programs do the same with every system call of theirs patched, and with every rule acting: programs/NAME.sh,
each run in an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def package_of(script: Path) -> str | None:
    """The Debian package that a long test's program comes from."""
    line = script.read_text().splitlines()[1]
    return line.removeprefix("# package: ") if line.startswith("# package: ") else None


def install(package: str) -> None:
    words = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
    subprocess.run(words, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, capture_output=True, check=False)


ALL = sorted(Path(__file__).with_name("programs").glob("*.sh"))
#: those that name a package run in make test-long only, and are installed there
PROGRAMS = [pytest.param(p, id=p.stem, marks=pytest.mark.long if package_of(p) else ()) for p in ALL]
Runner = Callable[..., Any]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("script", PROGRAMS)
@pytest.mark.parametrize("how", ["improved", "ruled", pytest.param("trapped", marks=pytest.mark.long)])
def test_it_does_the_same(
    script: Path, how: str, tmp_path: Path, plain: Runner, request: pytest.FixtureRequest
) -> None:
    needed, package = script.read_text().splitlines()[0].removeprefix("# needs: "), package_of(script)
    if package and not shutil.which(needed) and os.geteuid() == 0:
        install(package)
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

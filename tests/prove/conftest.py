"""What the tests of proofs share: the driver, built here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that runs a script of calls and prints every result."""
    made = tmp_path_factory.mktemp("driver") / "driver"
    subprocess.run(["gcc", "-O1", "-Wall", "-Wextra", "-o", made, HERE / "driver.c", "-lpthread"], check=True)
    return made

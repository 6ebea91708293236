"""What the tests of proofs share: the driver, built here, and a fresh journalled ext4."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that runs a script of calls and prints every result."""
    made = tmp_path_factory.mktemp("driver") / "driver"
    subprocess.run(["gcc", "-O1", "-Wall", "-Wextra", "-o", made, HERE / "driver.c", "-lpthread"], check=True)
    return made


@pytest.fixture(scope="session")
def ext4(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fresh journalled ext4 in a loop-mounted image."""
    if os.geteuid() != 0:
        pytest.skip("mounting an image needs root")
    folder = tmp_path_factory.mktemp("ext4")
    image, mount = folder / "image", folder / "mount"
    mount.mkdir()
    with image.open("wb") as f:
        f.truncate(64 << 20)
    environment = {**os.environ, "PATH": f"/usr/sbin:/sbin:{os.environ['PATH']}"}
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True, env=environment)
    done = subprocess.run(["mount", "-o", "loop", image, mount], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no loop device here: {done.stderr.strip()}")
    try:
        yield mount
    finally:
        subprocess.run(["umount", mount], check=True)

"""What the tests of proofs share: the driver, built here, and file systems with reflinks."""

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


#: kind -> how its file system is made, and how large its (sparse) image has to be
IMAGES = {
    "xfs": (["mkfs.xfs", "-q"], 512 << 20),
    "btrfs": (["mkfs.btrfs", "-q"], 256 << 20),
}


@pytest.fixture(scope="session")
def xfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fresh xfs, which has reflinks, in a loop-mounted image."""
    yield from fresh_image("xfs", tmp_path_factory)


@pytest.fixture(scope="session")
def btrfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fresh btrfs, which has reflinks, in a loop-mounted image."""
    yield from fresh_image("btrfs", tmp_path_factory)


def fresh_image(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make, mount, and unmount in the end."""
    if os.geteuid() != 0:
        pytest.skip("mounting an image needs root")
    folder = tmp_path_factory.mktemp(kind)
    command, size = IMAGES[kind]
    image, mount = folder / "image", folder / "mount"
    mount.mkdir()
    with image.open("wb") as f:
        f.truncate(size)
    environment = {**os.environ, "PATH": f"/usr/sbin:/sbin:{os.environ['PATH']}"}
    subprocess.run([*command, image], check=True, env=environment, stdout=subprocess.DEVNULL)
    done = subprocess.run(["mount", "-o", "loop", image, mount], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no loop device here: {done.stderr.strip()}")
    try:
        yield mount
    finally:
        subprocess.run(["umount", mount], check=True)

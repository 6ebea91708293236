"""What holds for every test."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

# A shell without job control starts background jobs with these ignored, and programs under test would inherit that:
# ctrl-C is among the things tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


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

"""The programs of `bench bounds` do the same work in each way: they check every byte themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.servers import compiled

from bench import bounds


@pytest.mark.parametrize("size", [1, 4096, 65536])
@pytest.mark.parametrize("way", ["copy", "splice", "kept"])
def test_a_relay_gives_the_bytes_that_it_got(tmp_path: Path, way: str, size: int) -> None:
    relay = compiled(bounds.HERE / "relay.c", tmp_path)
    assert bounds.said([str(relay), way, str(size), "50"])["own_us"] > 0


@pytest.mark.parametrize("way", bounds.WAYS["removed"])
def test_the_files_that_are_left_are_the_latest(tmp_path: Path, way: str) -> None:
    program = compiled(bounds.HERE / "removed.c", tmp_path)
    folder = tmp_path / "files"
    folder.mkdir()
    assert bounds.said([str(program), way, str(folder), "300"])["own_us"] > 0
    left = [file for file in folder.rglob("*") if file.is_file()]
    assert len(left) == 2000

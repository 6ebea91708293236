"""Where prices are measured."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from peephole.diagnose import calibrate


@pytest.mark.parametrize("place", ["/proc/self/fd", "/sys/devices", "/sys/class", "/proc"])
def test_a_file_system_that_holds_no_files_has_the_prices_of_the_temporary_folder(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def measured(mount: dict[str, object], folder: Path) -> calibrate.Prices:
        asked.append(folder)
        return calibrate.Prices("there", {})

    monkeypatch.setattr(calibrate, "_load", lambda key: None)
    monkeypatch.setattr(calibrate, "_measured", measured)
    calibrate.prices_for.cache_clear()
    calibrate.prices_for(place)
    calibrate.prices_for.cache_clear()
    assert asked == [Path(tempfile.gettempdir())]

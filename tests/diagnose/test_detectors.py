"""Every detector's own examples."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from helpers_capture import capture_of

from peephole.diagnose.catalogue import index
from peephole.diagnose.detectors import Detector, detectors, example
from peephole.diagnose.tables import tables_of

DETECTORS = detectors()


def _found(detector: Detector, text: str, folder: Path) -> list[dict[str, object]]:
    with tables_of(capture_of(example(text), folder / "capture")) as tables:
        rows: list[dict[str, object]] = detector.find(tables).to_pyarrow().to_pylist()
    return rows


def _examples(which: str) -> list[object]:
    return [
        pytest.param(detector, text, id=f"{detector.slug}: {name}")
        for detector in DETECTORS.values()
        for name, text in getattr(detector, which).items()
    ]


@pytest.mark.parametrize(("detector", "text"), _examples("fires"))
def test_a_detector_fires_on_its_example(detector: Detector, text: str, tmp_path: Path) -> None:
    assert any(row["certainty"] >= 1 for row in _found(detector, text, tmp_path))


@pytest.mark.parametrize(("detector", "text"), _examples("silent"))
def test_a_detector_is_silent_on_its_counterexample(detector: Detector, text: str, tmp_path: Path) -> None:
    assert not [row for row in _found(detector, text, tmp_path) if row["certainty"] >= 1]


@pytest.mark.parametrize("detector", DETECTORS.values(), ids=DETECTORS)
def test_a_detector_is_complete(detector: Detector) -> None:
    assert DETECTORS[detector.slug] is detector, "a detector's slug is its file's name"
    assert detector.fires and detector.silent
    for section in ("Why it costs", "Rewritten by", "Gives up", "How it is found"):
        assert re.search(rf"^{section}$", detector.page, re.M), section


def test_the_page_of_detectors_is_up_to_date() -> None:
    page = (Path(__file__).parents[2] / "docs" / "detectors.md").read_text()
    assert page == index(), "run: peephole explain --index > docs/detectors.md"

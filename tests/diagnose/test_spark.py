"""The same findings from Spark as from DuckDB, and what is said where Spark can't be used."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from helpers_capture import PRICES, capture_of

from peephole.diagnose.counted import calls_by_program
from peephole.diagnose.detectors import detectors, example
from peephole.diagnose.engine import diagnose
from peephole.diagnose.prices import Price, Prices
from peephole.diagnose.sequences import sequences
from peephole.diagnose.tables import spark_master, tables_of
from peephole.errors import CaptureError, UsageError
from peephole.trace import Capture

SPARK = "spark:local[2]"
#: so often over, most examples are more than the 50 calls that a finding needs
TIMES = 8


def _missing() -> str | None:
    if importlib.util.find_spec("pyspark") is None:
        return "pyspark is not installed (pip install 'peephole[spark]')"
    return None if shutil.which("java") else "Java is not installed"


needs_spark = pytest.mark.skipif(_missing() is not None, reason=str(_missing()))


def _whole_catalogue(times: int) -> Iterator[bytes]:
    """Every example of every detector, `times` over, in one log; those that name no process get one of their own."""
    pid = 1000
    texts = [text for d in detectors().values() for text in (*d.fires.values(), *d.silent.values())]
    for text in texts * times:
        pid += 1
        for line in example(text):
            named = re.match(rb"\d+ +[a-z\d<+]", line) and not re.match(rb"\d+\.", line)
            yield line if named else b"%d " % pid + line


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> list[Capture]:
    """The whole catalogue with names that are no text; and what has one opener only, which the many would hide."""
    folder = tmp_path_factory.mktemp("spark")
    odd = [
        b'9 openat(AT_FDCWD, "/tmp/\\303\\244\\377\\"\'%d", O_RDONLY) = -1 ENOENT (-)\n' % (n % 9) for n in range(99)
    ]
    sole = "".join(detectors()["sole_opener_locks"].fires.values())
    return [capture_of([*_whole_catalogue(TIMES), *odd], folder / "all"), capture_of(example(sole), folder / "sole")]


def _instances(captures: list[Capture], engine: str) -> dict[str, list[str]]:
    """What each detector finds, sorted."""

    def shown(row: dict[str, object]) -> str:
        return repr(row | {"claims": sorted(row["claims"])})  # type: ignore[call-overload]

    found: dict[str, list[str]] = {slug: [] for slug in detectors()}
    for capture in captures:
        with tables_of(capture, engine) as tables:
            for slug, detector in detectors().items():
                found[slug] += sorted(map(shown, detector.find(tables).to_pyarrow().to_pylist()))
    return found


@pytest.mark.long
@pytest.mark.timeout(0)
@needs_spark
def test_every_detector_finds_the_same_instances(captures: list[Capture]) -> None:
    here = _instances(captures, "duckdb")
    assert all(here.values()), "each of them finds something, or nothing is compared"
    assert any("xC3" in row for row in here["absent_lookups"])
    there = _instances(captures, SPARK)
    for slug in detectors():
        assert there[slug] == here[slug], slug


@pytest.mark.long
@pytest.mark.timeout(0)
@needs_spark
def test_findings_calls_and_sequences_are_the_same(captures: list[Capture]) -> None:
    dear = Prices("dear", {name: Price(p.ns * 1e7, p.low * 1e7, p.high * 1e7) for name, p in PRICES.of.items()})
    here, there = (diagnose(captures, dear, engine) for engine in ("duckdb", SPARK))
    assert len({finding.slug for finding in here.findings}) > 15
    assert there == here
    assert calls_by_program(captures, SPARK) == calls_by_program(captures)
    mined = []
    for engine in ("duckdb", SPARK):
        with tables_of(captures[0], engine) as tables:
            mined.append(sequences(tables, here.findings))
    assert mined[1] == mined[0]


def _diagnose(capture: Path, engine: str, **env: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "peephole", "diagnose", str(capture), "--json", "--engine", engine]
    return subprocess.run(words, capture_output=True, text=True, env={**os.environ, **env})


@pytest.mark.long
@needs_spark
def test_a_damaged_capture_is_told_of_in_one_line(tmp_path: Path) -> None:
    capture = capture_of(example("getpid() = 7\n" * 60), tmp_path / "c")
    whole = capture.calls.read_bytes()
    capture.calls.write_bytes(whole[:40] + bytes(60) + whole[100:])
    with pytest.raises(CaptureError, match="cut off"), tables_of(capture, SPARK) as tables:
        tables.images.to_pyarrow()


@pytest.mark.parametrize("engine", ["spark", "spark:", "spark:here", "spark:local[0]", "pandas", "spark:local[2] "])
def test_a_wrong_engine_is_wrong_usage(tmp_path: Path, engine: str) -> None:
    with pytest.raises(UsageError, match="take duckdb, spark:local"):
        spark_master(engine)


def test_masters_are_taken_as_spark_writes_them() -> None:
    assert spark_master("duckdb") is None
    for master in ("local", "local[2]", "local[*]", "spark://host:7077", "yarn", "k8s://https://host:443"):
        assert spark_master(f"spark:{master}") == master
    assert spark_master("spark://host:7077") == "spark://host:7077"


def test_without_pyspark_one_line_says_what_to_install(tmp_path: Path) -> None:
    capture_of(example("getpid() = 7\n" * 60), tmp_path / "c")
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "pyspark.py").write_text("raise ImportError('hidden')")
    done = _diagnose(tmp_path / "c", SPARK, PYTHONPATH=str(hidden))
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "pip install 'peephole[spark]'" in line


@pytest.mark.skipif(importlib.util.find_spec("pyspark") is None, reason="pyspark is not installed")
def test_without_java_one_line_says_what_to_install(tmp_path: Path) -> None:
    capture_of(example("getpid() = 7\n" * 60), tmp_path / "c")
    done = _diagnose(tmp_path / "c", SPARK, JAVA_HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "there is no Java" in line and "openjdk-17" in line

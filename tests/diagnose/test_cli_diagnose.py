"""The verbs import, diagnose, explain and calibrate, as people call them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from peephole.diagnose import calibrate
from peephole.diagnose.prices import Price
from peephole.errors import MissingToolError
from peephole.native import path as native_path

ROOT = Path(__file__).parents[2]


def _run(*words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "peephole", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        native_path("peephole-calibrate")
    except MissingToolError as e:
        pytest.skip(str(e))
    return tmp_path_factory.mktemp("cache")


def _log(folder: Path) -> Path:
    log = folder / "log"
    lines = ['open("/var/log/app", O_WRONLY|O_CREAT|O_APPEND, 0644) = 3\n']
    lines += ['write(3, "line\\n", 5) = 5\n'] * 5000
    log.write_text("".join(lines))
    return log


def test_text_becomes_a_capture_and_the_capture_findings(tmp_path: Path, cache: Path) -> None:
    done = _run("import", _log(tmp_path), "-o", tmp_path / "capture")
    assert done.returncode == 0, done.stderr
    done = _run("diagnose", tmp_path / "capture", "--json", XDG_CACHE_HOME=str(cache))
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["schema"], answer["version"], answer["lost"]) == ("peephole/findings", 1, 0)
    (finding,) = answer["findings"]
    assert finding["slug"] == "small_writes" and finding["calls"] == 5000 and finding["bytes"] == 25_000
    assert finding["object"] == "/var/log/app" and finding["rule"] == "coalesce_writes"
    assert 0 < finding["saving"]["low"] <= finding["saving"]["ns"] <= finding["saving"]["high"]
    done = _run("diagnose", tmp_path / "capture", XDG_CACHE_HOME=str(cache))
    assert done.stdout.startswith("small_writes: 5,000 calls of ")


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_gzip_has_nothing_worth_changing(tmp_path: Path, cache: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(os.urandom(1 << 20) * 8)
    log = tmp_path / "log"
    subprocess.run(["strace", "-f", "-y", "-ttt", "-T", "-o", log, "gzip", big], check=True)
    assert _run("import", log, "-o", tmp_path / "capture").returncode == 0
    done = _run("diagnose", tmp_path / "capture", XDG_CACHE_HOME=str(cache))
    assert done.stdout == "nothing worth changing\n"


@pytest.mark.parametrize("words", [("import", "/nonexistent", "-o", "c"), ("diagnose", "/nonexistent")])
def test_what_is_not_there_is_one_clear_line(words: tuple[str, ...], tmp_path: Path) -> None:
    done = _run(*words)
    assert done.returncode == 1
    assert done.stderr.startswith("peephole: /nonexistent") and done.stderr.count("\n") == 1


def test_garbage_leaves_no_capture_behind(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("getpid() = 7\nwhat is this\ngetpid() = 7\n")
    done = _run("import", tmp_path / "log", "-o", tmp_path / "capture")
    assert done.returncode == 1 and "line 2 " in done.stderr
    assert not (tmp_path / "capture").exists()


def test_explain_knows_every_detector_and_offers_close_names() -> None:
    listed = _run("explain").stdout.split()
    assert {"truncating_overwrite", "small_writes", "repeated_stat"} <= set(listed)
    assert "Why it costs" in _run("explain", "small_writes").stdout
    wrong = _run("explain", "smal_write")
    assert wrong.returncode == 2 and "small_writes" in wrong.stderr


def test_prices_are_measured_kept_privately_and_found_again(tmp_path: Path, cache: Path) -> None:
    done = _run("calibrate", "--dir", tmp_path, "--json", XDG_CACHE_HOME=str(cache))
    assert done.returncode == 0, done.stderr
    prices = json.loads(done.stdout)["prices"]
    for name in ("getppid", "write_64", "stat", "open_close", "overwrite_4096", "overwrite_in_place"):
        price = prices[name]
        assert 0 < price["low"] <= price["ns"] <= price["high"], name
        assert price["bare_ns"] > 0, name
    assert prices["coalesce_writes:write_64"]["ns"] < prices["write_64"]["ns"]
    assert prices["coalesce_writes:start"]["ns"] > 0
    assert list(tmp_path.iterdir()) == [], "nothing is left where it was measured"
    kept = list((cache / "peephole" / "prices").iterdir())
    assert kept and all(file.stat().st_mode & 0o077 == 0 for file in kept)


def test_a_cache_that_others_can_write_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    prices = calibrate.Prices("here", {"stat": Price(2, 1, 3, 1)})
    calibrate._store("key", prices)
    assert calibrate._load("key") == prices
    (tmp_path / "peephole" / "prices" / "key.json").chmod(0o666)
    assert calibrate._load("key") is None


def test_a_cache_that_cannot_be_written_is_said_and_gone_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        calibrate._store("key", calibrate.Prices("here", {}))
    assert len(caplog.messages) == 1


def test_the_help_of_every_verb_here_imports_no_heavy_package() -> None:
    program = """
import runpy, sys
sys.argv = ["peephole", *sys.argv[1:]]
try:
    runpy.run_module("peephole", run_name="__main__")
except SystemExit:
    pass
print([name for name in ("ibis", "duckdb", "pyarrow", "pandas", "scipy", "numpy") if name in sys.modules])
"""
    for words in (["--help"], ["diagnose", "--help"], ["import", "--help"], ["calibrate", "--help"], ["explain"]):
        done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
        assert done.stdout.splitlines()[-1] == "[]", words


def test_the_detector_in_the_manual_works(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "howto-add-a-detector.md").read_text()
    (source,) = re.findall(r"```python\n(.*?)```", text, re.S)
    sys.path.insert(0, str(Path(__file__).parent))
    from helpers_capture import capture_of

    from peephole.diagnose.detectors import example
    from peephole.diagnose.tables import tables_of

    detector: dict[str, object] = {}
    exec(compile(source, "howto", "exec"), detector)
    found = {}
    for which in ("FIRES", "SILENT"):
        for name, lines in detector[which].items():  # type: ignore[attr-defined]
            with tables_of(capture_of(example(lines), tmp_path / name)) as tables:
                found[name] = detector["find"](tables).count().execute()  # type: ignore[operator]
    assert found == {"twice": 1, "relative": 0}

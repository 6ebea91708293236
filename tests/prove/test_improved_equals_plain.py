"""The compiled rules under the interposer do what the plain program does: every result, every file."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.prove.scripts import random_script, stream_script

from peephole import native
from peephole.errors import MissingToolError
from peephole.prove.language import rule_names

SEED = 20260601
SCRIPTS = 6
CALLS = 250


def _run(words: list[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=120)


def _files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


def compare(driver: Path, rules: str, script: str, place: Path, folder: Path) -> None:
    """Run one script plain and improved, each in a fresh folder of `place`; everything must be equal."""
    text = folder / "script"
    text.write_text(script)
    seen = []
    for kind in ("plain", "improved"):
        work = place / f"{folder.name}.{kind}"
        work.mkdir()
        (work / "a").write_bytes(b"old" * 2000)
        (work / "b").write_bytes(b"x" * 90000)
        words: list[str | Path] = [driver, text, work]
        if kind == "improved":
            words = [sys.executable, "-m", "peephole", "improve", "--rules", rules, "--allow", "all", "--", *words]
        done = _run(words)
        assert done.returncode == 0, (kind, done.returncode, done.stderr)
        seen.append((done.stdout.splitlines(), _files(work)))
    (plain, plain_files), (improved, improved_files) = seen
    for i, (a, b) in enumerate(zip(plain, improved, strict=False)):
        # ext4 keeps a block, until write-back, for what a write with a bad address did not write to an empty file.
        assert a in (b, f"{b} blocks!=0"), f"result {i} differs: plain `{a}`, improved `{b}`; script {text}"
    assert len(plain) == len(improved)
    assert plain_files.keys() == improved_files.keys()
    for name in plain_files:
        assert plain_files[name] == improved_files[name], f"file {name} differs; script {text}"


@pytest.fixture(scope="session")
def interposer() -> None:
    try:
        native.path("libpeephole.so")
    except MissingToolError as e:
        pytest.skip(str(e))


@pytest.mark.parametrize("number", range(SCRIPTS))
@pytest.mark.parametrize("rules", [*rule_names(), ",".join(rule_names())])
def test_a_random_script_gives_the_same_results_and_files(
    driver: Path, interposer: None, tmp_path: Path, rules: str, number: int
) -> None:
    seed = SEED + number
    print(f"seed {seed}")
    compare(driver, rules, random_script(random.Random(seed), CALLS), tmp_path, tmp_path)


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("rules", ["gather_sends", ",".join(rule_names())])
def test_peers_get_what_the_plain_program_sends(
    driver: Path, interposer: None, tmp_path: Path, rules: str, number: int
) -> None:
    seed = SEED + 2000 + number
    print(f"seed {seed}")
    compare(driver, rules, stream_script(random.Random(seed), 12), tmp_path, tmp_path)


@pytest.mark.root
@pytest.mark.parametrize("number", range(4))
def test_a_random_script_gives_the_same_on_ext4(
    driver: Path, interposer: None, ext4: Path, tmp_path: Path, number: int
) -> None:
    seed = SEED + 1000 + number
    print(f"seed {seed}")
    script = random_script(random.Random(seed), CALLS)
    compare(driver, ",".join(rule_names()), script, ext4, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("number", range(100))
def test_many_random_scripts_give_the_same(driver: Path, interposer: None, tmp_path: Path, number: int) -> None:
    seed = SEED + 10_000 + number
    print(f"seed {seed}")
    script = random_script(random.Random(seed), 2 * CALLS)
    compare(driver, ",".join(rule_names()), script, tmp_path, tmp_path)

"""A rule of the user's own: read, proved, compiled into a private library, and run; or refused in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from peephole.errors import EngineError
from peephole.improve.arm import arm
from peephole.improve.control import RULES_MAX
from peephole.prove.language import RULES, rule_names

TEXT = '''"""Remember the pid."""

from peephole.prove.vocabulary import PerProcess, Rule, num, result


class {cls}(Rule):
    """Remember the pid."""

    relaxes = set()

    class Process(PerProcess):
        known: bool
        pid: num

    def getpid(k, p) -> result:
        if p.known:
            k.hit()
            return {answer}
        r = k.forward()
        p.pid = r
        p.known = True
        return r
'''
ASKS = "import os; print(len({os.getpid() for _ in range(100)}))"

Peephole = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for rules, and the cache that proofs and libraries are kept in."""
    folder = tmp_path_factory.mktemp("own")
    for name, cls, answer in (("my_pid", "MyPid", "p.pid"), ("wrong_pid", "WrongPid", "p.pid + 1")):
        (folder / name).mkdir()
        (folder / name / "rule.py").write_text(TEXT.format(cls=cls, answer=answer))
    return folder


@pytest.fixture
def peephole(home: Path) -> Peephole:
    def run(*words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "peephole", *map(str, words)], cwd=home, timeout=250,
            env=os.environ | {"XDG_CACHE_HOME": str(home / "cache")} | env,
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip

    return run


def improve(peephole: Peephole, home: Path, *words: str, **env: str) -> tuple[subprocess.CompletedProcess[str], dict]:  # type: ignore[type-arg]
    (home / "stats.json").unlink(missing_ok=True)
    done = peephole("improve", *words, "--stats", home / "stats.json", "--", sys.executable, "-c", ASKS, **env)
    return done, json.loads((home / "stats.json").read_text())["rules"] if (home / "stats.json").exists() else {}


def one_line(done: subprocess.CompletedProcess[str], *said: str) -> None:
    assert done.returncode == 125 and not done.stdout, (done.returncode, done.stdout)
    assert len(done.stderr.splitlines()) == 1 and all(word in done.stderr for word in said), done.stderr


def test_a_proved_rule_of_ones_own_runs_verified(peephole: Peephole, home: Path) -> None:
    done, rules = improve(peephole, home, "--rules", "./my_pid")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout == "1\n"
    assert rules["my_pid"]["trust"] == "verified" and rules["my_pid"]["hits"] >= 99
    (library,) = (home / "cache" / "peephole" / "libraries").glob("*/*")
    assert library.parent.stat().st_mode & 0o777 == 0o700
    made = library.stat().st_mtime_ns
    # Beside a rule that comes with Peephole, from the library that is there already.
    done, rules = improve(peephole, home, "--rules", "memo_identity,./my_pid")
    assert done.returncode == 0 and rules["memo_identity"]["hits"] and library.stat().st_mtime_ns == made


def test_a_wrong_rule_is_refused_and_runs_only_by_force(peephole: Peephole, home: Path) -> None:
    done, _ = improve(peephole, home, "--rules", "./wrong_pid")
    one_line(done, "wrong_pid is not proved", "results")
    done, rules = improve(peephole, home, "--rules", "none", "--force", "./wrong_pid")
    assert done.returncode == 0 and rules["wrong_pid"]["trust"] == "trusted"
    # It does run: the first answer is right, the others are not.
    assert done.stdout == "2\n"
    assert "wrong_pid is trusted, not verified (--force); it may give up" in done.stderr and "results" in done.stderr


def test_a_plan_names_the_folder_and_its_certificate(peephole: Peephole, home: Path) -> None:
    from peephole.improve.consent import parse
    from peephole.improve.places import mounted
    from peephole.improve.plan import of_rules
    from peephole.improve.plan_file import save

    usable = [place for place in mounted() if place.dev == home.stat().st_dev]
    (home / "planned_pid").mkdir()
    text = home / "planned_pid" / "rule.py"
    text.write_text(TEXT.format(cls="PlannedPid", answer="p.pid"))
    save(of_rules([str(home / "planned_pid")], usable, parse(None)), home / "plan.toml")
    done, rules = improve(peephole, home, "--plan", "plan.toml")
    assert done.returncode == 0 and rules["planned_pid"]["hits"], done.stderr
    text.write_text(text.read_text() + "\n# changed\n")
    done, rules = improve(peephole, home, "--plan", "plan.toml")
    one_line(done, "the certificate of planned_pid is not the one planned with")


def test_a_rule_outside_the_language_is_told_by_file_and_line(peephole: Peephole, home: Path) -> None:
    (home / "bad_pid").mkdir()
    (home / "bad_pid" / "rule.py").write_text(TEXT.format(cls="BadPid", answer="p.pid ** 2"))
    line = next(i for i, t in enumerate(TEXT.splitlines(), 1) if "{answer}" in t)
    done, _ = improve(peephole, home, "--rules", "none", "--force", "./bad_pid")
    one_line(done, f"bad_pid/rule.py:{line}: ", "the language has no expression")


def test_what_others_could_have_written_is_not_compiled(peephole: Peephole, home: Path) -> None:
    (home / "my_pid").chmod(0o777)
    try:
        one_line(improve(peephole, home, "--rules", "./my_pid")[0], "others may write to", "my_pid")
    finally:
        (home / "my_pid").chmod(0o755)
    libraries = list((home / "cache" / "peephole" / "libraries").glob("*/*"))
    for library in libraries:
        library.chmod(0o777)
    try:
        one_line(improve(peephole, home, "--rules", "./my_pid")[0], "others may write to", "libpeephole.so")
    finally:
        for library in libraries:
            library.chmod(0o755)


def test_without_gcc_one_line_says_so(peephole: Peephole, home: Path, tmp_path: Path) -> None:
    (tmp_path / "peephole").mkdir()
    (tmp_path / "peephole" / "proofs").symlink_to(home / "cache" / "peephole" / "proofs")
    done, _ = improve(peephole, home, "--rules", "./my_pid", XDG_CACHE_HOME=str(tmp_path), PATH=str(tmp_path))
    one_line(done, "gcc is not installed", "install it")


def test_a_word_that_is_no_folder_of_a_rule(peephole: Peephole, home: Path) -> None:
    one_line(improve(peephole, home, "--rules", "./nothing")[0], "./nothing: no rule.py there")
    (home / "skip_sync").mkdir()
    (home / "skip_sync" / "rule.py").write_text("")
    one_line(improve(peephole, home, "--rules", "./skip_sync")[0], "a rule of that name comes with Peephole")


@pytest.mark.long  # the library's making
def test_twenty_four_rules_fit_and_the_last_one_has_state(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    others = [name for name in rule_names() if name not in ("shadow_descriptor", "memo_identity", "read_whole")]
    sources = {}
    for name in [f"pid_{i}" for i in range(RULES_MAX - len(others) - 1)]:
        (home / name).mkdir()
        (home / name / "rule.py").write_text(TEXT.format(cls=name, answer="p.pid"))
        sources[name] = str(home / name)
    (home / "where").mkdir()
    (home / "where" / "rule.py").write_bytes((RULES / "shadow_descriptor" / "rule.py").read_bytes())
    sources["where"] = str(home / "where")
    asks = "import os, sys; f = os.open(sys.argv[1], os.O_RDONLY); print({os.lseek(f, 0, 1) for _ in range(100)})"
    with arm(others, sources=sources) as armed:
        words = [sys.executable, "-c", asks, str(home / "where" / "rule.py")]
        done = subprocess.run(words, env=armed.environment(os.environ), capture_output=True, text=True, check=True)
        rules = armed.stats()["rules"]
    assert done.stdout == "{0}\n" and len(rules) == RULES_MAX
    assert list(rules)[-1] == "where" and rules["where"]["hits"] >= 90
    with pytest.raises(EngineError, match="more than the 24"):
        arm(others, sources=sources | {"one_more": str(home / "pid_0")})

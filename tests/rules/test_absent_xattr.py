"""What files lack is remembered by the programs of one improved command, until a file or a path changes."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from peephole.improve.arm import Armed, arm

ACCESS, DEFAULT, LABEL = "system.posix_acl_access", "system.posix_acl_default", "security.selinux"
#: more than a step of the kernel's clock, after which what is found of a file is remembered
STEP_MS = 60
SEED = 20261129


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("attributes") / "attributes"
    subprocess.run(["gcc", "-O1", "-Wall", "-o", made, Path(__file__).parent / "attributes.c"], check=True)
    return made


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder on a tmpfs: not every test machine has its temporary folder on a file system that rules act on."""
    folder = Path(f"/dev/shm/peephole-attributes-{os.getpid()}")
    folder.mkdir()
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


def said(words: list[str | Path], folder: Path, armed: Armed | None) -> str:
    env = armed.environment(os.environ) if armed else None
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=True, timeout=60).stdout


def hits(armed: Armed) -> int:
    return int(armed.stats()["rules"]["absent_xattr"]["hits"])


def settle() -> None:
    time.sleep(STEP_MS / 1000)


# -- ls in a shell -----------------------------------------------------------------------------------------------


def listing(place: Path, between: str, undo: str = "true") -> tuple[str, str, int]:
    """What `ls -lR` says twice, with something between, plain and improved; and the hits."""
    folder = place / "tree"
    (folder / "a" / "b").mkdir(parents=True)
    for i in range(40):
        (folder / "a" / f"f{i}").write_text("text\n")
    (folder / "link").symlink_to("a/f0")
    settle()
    script = f"ls -lR tree; {between}; ls -lR tree"
    with arm(["absent_xattr"]) as armed:
        improved = said(["sh", "-c", script], place, armed)
        assert armed.stats()["not_covered"] == []
        found = hits(armed)
    said(["sh", "-c", undo], place, None)
    return said(["sh", "-c", script], place, None), improved, found


def test_a_second_listing_is_answered_and_says_the_same(place: Path) -> None:
    plain, improved, found = listing(place, "true")
    assert improved == plain and improved[: len(improved) // 2] == improved[len(improved) // 2 :]
    assert found >= 80


def test_an_access_list_that_another_program_sets_is_seen(place: Path, program: Path) -> None:
    change, undo = (f"{program} {verb} tree/a/f7 {ACCESS} >/dev/null" for verb in ("set", "drop"))
    plain, improved, found = listing(place, change, undo)
    second = improved[len(improved) // 2 :]
    assert [line.split()[-1] for line in second.splitlines() if line[10:11] == "+"] == ["f7"]
    assert improved == plain and found >= 70


def test_a_listing_that_only_learns_does_not_switch_the_rule_off(place: Path) -> None:
    (place / "tree").mkdir()
    for i in range(3000):
        (place / "tree" / f"f{i}").touch()
    settle()
    with arm(["absent_xattr"], prices={"absent_xattr": 400}) as armed:
        for _ in range(2):
            said(["ls", "-l", "tree"], place, armed)
        rule = armed.stats()["rules"]["absent_xattr"]
    assert rule["switched_off"] is None and rule["hits"] >= 5900


# -- call by call ------------------------------------------------------------------------------------------------

#: run after `look f lget f ACCESS` was answered in another program; which of its calls the table may answer
CASES = {
    "looked at and asked": (f"look f lget f {ACCESS} get f {ACCESS} get f {LABEL}", 2),
    "not looked at": (f"lget f {ACCESS}", 0),
    "only its size asked for": (f"sizes f lget f {ACCESS}", 0),
    "by another path": (f"look f lget ./f {ACCESS} look ./f lget ./f {ACCESS}", 0),
    "another attribute": (f"look f lget f user.other lget f {LABEL} lget f {DEFAULT}", 0),
    "it sets it": (f"look f set f {ACCESS} lget f {ACCESS} look f lget f {ACCESS}", 0),
    "it sets it after a question": (f"look f get f {ACCESS} set f {ACCESS} get f {ACCESS} look f get f {ACCESS}", 1),
    "it sets and drops it": (f"set f {ACCESS} drop f {ACCESS} look f lget f {ACCESS}", 0),
    "a handler sets it": (f"look f act f {ACCESS} lget f {ACCESS} look f lget f {ACCESS}", 0),
    "a child in its memory sets it": (f"look f child f {ACCESS} lget f {ACCESS} look f lget f {ACCESS}", 0),
    "another file takes its name": (f"make g set g {ACCESS} look f move g f lget f {ACCESS} look f lget f {ACCESS}", 0),
    "it goes elsewhere": (f"look f go d lget f {ACCESS} look f lget f {ACCESS}", 0),
    "a link to it": (f"look l lget l {ACCESS} get l {ACCESS} follow l lget l {ACCESS} get l {ACCESS}", 0),
    "it is not there": (f"look none lget none {ACCESS}", 0),
    "it tries to become another user": (f"become {os.geteuid()} look f lget f {ACCESS}", 0),
}


def lay(folder: Path, program: Path) -> None:
    (folder / "d").mkdir(parents=True)
    (folder / "f").touch()
    (folder / "d" / "f").touch()
    (folder / "l").symlink_to("f")
    said([program, "set", "d/f", ACCESS], folder, None)
    settle()


@pytest.mark.parametrize("case", CASES)
def test_each_call_says_what_it_says_without_the_rule(case: str, place: Path, program: Path) -> None:
    words, answered = CASES[case]
    for name in ("plain", "improved"):
        lay(place / name, program)
    learn: list[str | Path] = [program, "lget", "f", ACCESS, "look", "f", "lget", "f", ACCESS]
    with arm(["absent_xattr"]) as armed:
        said(learn, place / "improved", armed)
        # A program is followed from its first question on.
        run: list[str | Path] = [program, "lget", "f", "user.first", *words.split()]
        improved = said(run, place / "improved", armed)
        assert hits(armed) == answered
    said(learn, place / "plain", None)
    assert improved == said(run, place / "plain", None)


@pytest.mark.root
def test_another_user_is_not_told_what_was_learned(place: Path, program: Path) -> None:
    lay(place / "files", program)
    place.chmod(0o755)
    words = f"lget f {ACCESS} look f lget f {ACCESS} look f lget f {ACCESS}"
    with arm(["absent_xattr", "memo_identity"]) as armed:
        said([program, *words.split()], place / "files", armed)
        before = hits(armed)
        said([program, *f"become 65534 {words}".split()], place / "files", armed)
        assert (before, hits(armed)) == (1, 1)


def test_what_has_just_changed_is_not_remembered(place: Path, program: Path) -> None:
    asks = f"look g lget g {ACCESS}"
    words = f"make g lget g {ACCESS} set g {ACCESS} drop g {ACCESS} {asks} set g {ACCESS} {asks}".split()
    with arm(["absent_xattr"]) as armed:
        for _ in range(5):
            out = said([program, *words], place, armed)
            assert [line.split()[1] for line in out.splitlines()][-4:] == ["-1", "0", "0", "44"]
            assert hits(armed) == 0
            (place / "g").unlink()


def random_words(rng: random.Random) -> list[str]:
    words: list[str] = []
    for _ in range(12):
        name, other = rng.choice("fgl"), rng.choice("fg")
        what = rng.choice(
            ["look", "look", "look", "follow", "lget", "lget", "get", "get", "set", "drop", "move", "wait"]
        )
        attribute = rng.choice([ACCESS, ACCESS, LABEL])
        if what in ("look", "follow"):
            words += [what, name, rng.choice(["lget", "get"]), name, attribute]
        elif what in ("set", "drop"):
            words += [what, other, ACCESS]
        else:
            words += {"move": [what, "f", "g"], "wait": [what, "8"]}.get(what, [what, name, attribute])
    return words


def agree(place: Path, program: Path, rounds: int) -> int:
    """Random programs, one after the other, on two folders alike, plain and improved; the hits."""
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    for name in ("plain", "improved"):
        lay(place / name, program)
    with arm(["absent_xattr"]) as armed:
        for _ in range(rounds):
            words: list[str | Path] = [program, "make", "f", "make", "g", "lget", "f", LABEL, *random_words(rng)]
            improved, plain = said(words, place / "improved", armed), said(words, place / "plain", None)
            assert improved == plain, words
        return hits(armed)


def test_random_programs_say_the_same(place: Path, program: Path) -> None:
    assert agree(place, program, 60) > 20


@pytest.mark.root
def test_random_programs_say_the_same_on_ext4(ext4: Path, program: Path) -> None:
    assert agree(ext4 / "attributes", program, 60) > 20

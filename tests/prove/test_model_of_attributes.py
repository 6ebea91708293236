"""What the model says of attributes, links and change times, against the real kernel."""

from __future__ import annotations

import contextlib
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from peephole.prove.language import load_rule
from peephole.prove.model.alphabet import ATTRIBUTES, Shape, random_call
from peephole.prove.model.kernel import NOFOLLOW, Call, perform
from peephole.prove.model.machine import INODES, Machine, Oracle, start_state
from peephole.prove.real import FILE_NAMES

SEED = 20261130
SEQUENCES, CALLS = 250, 10
STEP_S = 0.012  # more than a step of the kernel's clock
ACCESS, DEFAULT, LABEL = "system.posix_acl_access", "system.posix_acl_default", "security.selinux"
NAMES = (ACCESS, "user.peephole")
#: users 1 may read: version, then tag, permissions, id of each entry
LIST = bytes.fromhex("02000000 01000600ffffffff 0200040001000000 04000400ffffffff 10000400ffffffff 20000400ffffffff")
OTHERS = (Shape("unlink", "", ("name",)), Shape("rename", "", ("name", "to")), Shape("link", "", ("name", "to")))


def real(folder: Path, call: Call) -> tuple[int, dict[str, Any]]:
    """A call on real files: its result, and what it told."""
    path = folder / FILE_NAMES[call["name"]]
    try:
        match call.name:
            case "statx":
                st = path.stat(follow_symlinks=not call["flags"].has(NOFOLLOW))
                return 0, {"inode": st.st_ino, "link": st.st_mode & 0o170000 == 0o120000, "changed": st.st_ctime_ns}
            case "getxattr" | "lgetxattr":
                os.getxattr(path, NAMES[call["attribute"]], follow_symlinks=call.name == "getxattr")
                return 1, {}
            case "lsetxattr" if call["placed"]:
                os.setxattr(path, NAMES[call["attribute"]], LIST, follow_symlinks=False)
            case "lsetxattr":
                os.removexattr(path, NAMES[call["attribute"]], follow_symlinks=False)
            case "unlink":
                path.unlink()
            case "rename":
                path.rename(folder / FILE_NAMES[call["to"]])
            case "link":
                os.link(path, folder / FILE_NAMES[call["to"]], follow_symlinks=False)
    except OSError as e:
        return -(e.errno or 0), {}
    return 0, {}


def outside(m: Machine, call: Call) -> bool:
    """What the model leaves out: a link has no access list of its own, and nothing can be set on it."""
    if "name" not in call.words:
        return False
    i = m.state[f"n{call['name']}"]
    linked = i >= 0 and m.state[f"i{i}.link"] >= 0
    listed = call.name == "lgetxattr" and call["attribute"] == 0
    dropped = call.name == "lsetxattr" and not call["placed"] and call["attribute"] == 0
    return (linked and (listed or call.name == "lsetxattr")) or dropped  # to drop a list that is not there is no error


def compare(place: Path, sequences: int) -> int:
    """Random sequences on both; gives how many calls were compared."""
    shapes = [s for s in (*ATTRIBUTES, *OTHERS) if s.by == "us" or s.name == "time_passes"]
    compared = 0
    for number in range(sequences):
        rng, told = random.Random(SEED + number), [f"seed {SEED + number}"]
        folder = place / str(number)
        folder.mkdir()
        m = Machine(start_state(load_rule("absent_xattr")))
        for j in range(2):
            (folder / FILE_NAMES[j]).touch()
            m.state[f"n{j}"] = j
        if rng.random() < 0.4:
            (folder / "c").symlink_to(rng.choice("ab"))
            m.state |= {"n2": 2, "i2.link": FILE_NAMES.index(str((folder / "c").readlink()))}
        last: dict[int, tuple[int, int]] = {}  # model inode -> change times, in the model and here
        for _ in range(CALLS):
            call = random_call(rng, rng.choice(shapes), m)
            if outside(m, call):
                continue
            if call.name == "time_passes":
                time.sleep(STEP_S if call["n"] else 0)
            m.out = {}
            result = perform(m, call, Oracle())
            if m.beyond:
                break
            got, out = (0, {}) if call.name == "time_passes" else real(folder, call)
            told.append(f"{call}: model {result} {m.out}, kernel {got} {out}")
            assert result == got, "\n".join(told)
            if call.name == "statx" and got == 0 and call["asked"]:
                inode = int(m.out["inode"])
                assert bool(m.out["link"]) == out["link"], "\n".join(told)
                before = last.get(inode)
                if before and before[0] != m.out["changed"]:
                    assert before[1] != out["changed"], "\n".join(told)
                last[inode] = (int(m.out["changed"]), out["changed"])
            compared += 1
        names = [f for j, f in enumerate(FILE_NAMES) if m.state[f"n{j}"] >= 0]
        assert m.beyond or names == sorted(p.name for p in folder.iterdir()), "\n".join(told)
        assert all(m.state[f"i{i}.size"] == 0 for i in range(INODES))
    return compared


def moved(folder: Path, rounds: int) -> None:
    """An attribute that is set, or removed, gives the file another change time, once the clock has gone a step on."""
    file, below = folder / "file", folder / "folder"
    file.touch()
    below.mkdir()
    cases = [(file, ACCESS), (below, ACCESS), (below, DEFAULT)] + ([(file, LABEL)] if os.geteuid() == 0 else [])
    for turn in range(rounds):
        for path, name in cases:
            time.sleep(STEP_S / 2)
            before = path.stat().st_ctime_ns
            if turn % 2:
                with contextlib.suppress(OSError):
                    os.removexattr(path, name)
            else:
                os.setxattr(path, name, LIST)
            assert path.stat().st_ctime_ns != before, (turn, path.name, name)


@pytest.fixture
def tmpfs() -> Any:
    folder = Path(f"/dev/shm/peephole-attributes-{os.getpid()}")
    folder.mkdir()
    yield folder
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.rmdir()


def test_the_model_agrees_with_tmpfs(tmpfs: Path) -> None:
    assert compare(tmpfs, SEQUENCES) > 4 * SEQUENCES


def test_a_change_of_attributes_moves_the_change_time_on_tmpfs(tmpfs: Path) -> None:
    moved(tmpfs, 40)


@pytest.mark.root
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_the_model_agrees_with_file_systems_on_disk(kind: str, request: pytest.FixtureRequest) -> None:
    place = request.getfixturevalue(kind) / "model-of-attributes"
    place.mkdir()
    assert compare(place, SEQUENCES // 4) > SEQUENCES
    moved(place, 40)

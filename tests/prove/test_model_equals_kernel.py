"""The ideal kernel of the proofs against the real one: random sequences of calls, every result and every file."""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

import pytest

from peephole.prove.language import load_rule
from peephole.prove.model import kernel
from peephole.prove.model.alphabet import ALPHABET, Shape, random_call
from peephole.prove.model.kernel import Call, Flags, perform
from peephole.prove.model.machine import CELLS, NAMES, Machine, Oracle, start_state
from peephole.prove.real import FILE_NAMES, Real

SEED = 20260602
SEQUENCES = 2000
CALLS = 8
#: Calls of the alphabet that a test can make of one process, and compare.
COMPARED = (
    "openat", "read", "pread64", "write", "writev", "pwrite64", "lseek", "fstat", "ftruncate", "fsync", "fdatasync",
    "fcntl", "ioctl", "copy_file_range", "dup", "dup2", "close", "close_range", "execve", "stat", "truncate", "unlink",
    "rename", "link",
)  # fmt: skip


def _model_files(m: Machine) -> dict[str, bytes]:
    out = {}
    for j in range(NAMES):
        i = m.state[f"n{j}"]
        if i >= 0:
            out[FILE_NAMES[j]] = bytes(m.state[f"i{i}.c{c}"] for c in range(m.state[f"i{i}.size"]))
    return out


def _clone_is_unaligned(m: Machine, call: Call) -> bool:
    """A cell stands for whole blocks; here it is a byte, and a clone has to end at a block or at both files' ends."""
    clones = m.state["reflink"] and call.name == "ioctl" and call["request"] == 21
    both = clones and m.is_open(call.slot) and m.is_open(call.other)
    return bool(both and m.of_file(call.other, "size") < m.of_file(call.slot, "size"))


def _outside(m: Machine, call: Call) -> bool:
    """What the model leaves open, or this test can't make."""
    if call.name == "openat":
        flags: Flags = call["flags"]
        return bool(flags.bits[kernel.WRONLY] and flags.bits[kernel.RDWR]) or kernel.new_slot(m) < 0
    if call.slot < 0:
        return False
    if call.name == "dup2" and m.is_open(call.other) is not True:
        return True
    path_only = m.is_open(call.slot) is True and not m.d(call.slot, "rd") and not m.d(call.slot, "wr")
    if call.name == "copy_file_range":
        # The kernel refuses a copy between overlapping ranges of one file only; the model, one file in any case.
        same = m.d(call.slot, "ino") == m.d(call.other, "ino")
        return path_only or same or not m.is_open(call.other) or (not m.d(call.other, "rd"))
    if call.name == "ioctl" and (call["request"] == 22 or _clone_is_unaligned(m, call)):
        return True
    return path_only and call.name not in ("close", "fstat", "dup", "dup2")


def compare(place: Path, first: int, count: int, reflink: bool = False) -> int:
    """Run sequences on both; every result must be equal. Gives how many calls were compared."""
    rule = load_rule("truncate_in_place")
    shapes: list[Shape] = [s for s in ALPHABET if s.name in COMPARED and s.by == "us" and s.slots != "dd"]
    compared = 0
    for number in range(first, first + count):
        rng = random.Random(SEED + number)
        folder = place / str(number)
        folder.mkdir()
        m = Machine(start_state(rule) | {"reflink": reflink})
        real = Real(folder)
        told = [f"seed {SEED + number}"]
        try:
            for i in range(CALLS):
                call = random_call(rng, shapes[0] if i == 0 else rng.choice(shapes), m)
                if "data" in call.words:
                    call.words["data"] = kernel.Data(call["data"].cells, 3)
                if "good" in call.words:
                    call.words["good"] = 3
                if _outside(m, call):
                    continue
                slot = kernel.new_slot(m)
                free = [k for k in range(3) if kernel.free_inode(m, k) is True]
                m.out = {}
                result = perform(m, call, Oracle(fresh=free[0] if free else 0))
                if m.beyond or (result == -kernel.ENOSPC and not free) or result == -kernel.EMFILE:
                    break  # outside the model: what it did is not compared
                got, out = real.perform(call, slot)
                told.append(f"{call}: model {result} {m.out}, kernel {got} {out}")
                assert result == got, "\n".join(told)
                if got >= 0:
                    seen = {k: v for k, v in m.out.items() if k in out}
                    assert seen == out, "\n".join(told)
                compared += 1
            else:
                assert _model_files(m) == real.files(), "\n".join(told)
        finally:
            real.close()
            with contextlib.suppress(OSError):
                for p in folder.iterdir():
                    p.unlink()
                folder.rmdir()
    return compared


def test_the_model_agrees_with_tmpfs_or_the_file_system_at_hand(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    shm = Path("/dev/shm")
    place = shm / f"peephole-test-{os.getpid()}" if os.access(shm, os.W_OK) else tmp_path
    place.mkdir(exist_ok=True)
    try:
        compared = compare(place, 0, SEQUENCES)
    finally:
        if place != tmp_path:
            place.rmdir()
    assert compared > 3 * SEQUENCES


@pytest.mark.root
def test_the_model_agrees_with_a_fresh_journalled_ext4(ext4: Path) -> None:
    print(f"seed {SEED + SEQUENCES}")
    assert compare(ext4, SEQUENCES, SEQUENCES) > 3 * SEQUENCES


@pytest.mark.root
@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_the_model_agrees_with_file_systems_that_have_reflinks(kind: str, request: pytest.FixtureRequest) -> None:
    first, count = 3 * SEQUENCES, SEQUENCES // 4
    print(f"seed {SEED + first}")
    assert compare(request.getfixturevalue(kind), first, count, reflink=True) > 3 * count


@pytest.mark.long
@pytest.mark.root
@pytest.mark.parametrize(("kind", "count"), [("tmpfs", 70_000), ("ext4", 10_000), ("xfs", 10_000), ("btrfs", 10_000)])
def test_a_hundred_thousand_sequences_agree(
    kind: str, count: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    first = 10 * SEQUENCES
    print(f"seed {SEED + first}")
    place = Path(f"/dev/shm/peephole-long-{os.getpid()}") if kind == "tmpfs" else request.getfixturevalue(kind)
    place.mkdir(exist_ok=True)
    try:
        assert compare(place, first, count, reflink=kind in ("xfs", "btrfs")) > 3 * count
    finally:
        if kind == "tmpfs":
            place.rmdir()


def test_a_call_that_the_model_lacks_is_an_error() -> None:
    from peephole.errors import RuleError

    with pytest.raises(RuleError, match="the model has no call swapon"):
        perform(Machine(start_state(load_rule("truncate_in_place"))), Call("swapon"), Oracle())


def test_cells_of_the_model_are_enough_for_the_promised_bounds() -> None:
    assert CELLS >= 4 and NAMES >= 3

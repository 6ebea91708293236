"""What the model says of a pipe's read end, against the real kernel."""

from __future__ import annotations

import fcntl
import os
import random
import termios

import pytest

from peephole.prove.language import load_rule
from peephole.prove.model.kernel import Call, Data, perform
from peephole.prove.model.machine import CELLS, CHUNK, Machine, Oracle, start_state

SEED = 20261128
SEQUENCES = 400
CALLS = 12


def real(name: str, ends: tuple[int, int], words: dict[str, int]) -> tuple[int, bytes]:
    """A call on a real pipe: its result, and the bytes that it gave. What would wait gives nothing."""
    try:
        if name == "other_writes":
            os.write(ends[1], bytes([words["byte"]]))
            return 0, b""
        if name == "read":
            got = os.read(ends[0], words["n"])
            return len(got), got
        if name == "pread64":
            return len(os.pread(ends[0], words["n"], words["offset"])), b""
        if name == "lseek":
            return os.lseek(ends[0], words["offset"], words["whence"]), b""
        return fcntl.ioctl(ends[0], termios.TCGETS, b"\0" * 64) and 0, b""
    except BlockingIOError:
        return 0, b""
    except OSError as e:
        return -(e.errno or 0), b""


def modelled(m: Machine, slot: int, name: str, words: dict[str, int]) -> tuple[int, bytes]:
    """The same in the model, whose cells are bytes here."""
    inode = m.state[f"d{slot}.ino"]
    m.out = {}
    if name == "other_writes":
        data = Data((words["byte"], 0, 0), CHUNK)
        call = Call(name, -1, words={"inode": inode, "append": False, "offset": 0, "data": data}, by="other")
        return int(perform(m, call, Oracle())), b""
    more = {"good": CHUNK, "request": 20}
    r = int(perform(m, Call(name, slot, slot, words | more), Oracle()))
    return r, bytes(int(m.out[f"byte{i}"]) for i in range(r)) if name == "read" and r > 0 else b""


@pytest.mark.parametrize("seed", [SEED])
def test_the_model_agrees_with_a_pipe(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(SEQUENCES):
        m = Machine(start_state(load_rule("peek_pipe")))
        slot = int(perform(m, Call("pipe2"), Oracle()))
        ends, written, told = os.pipe2(os.O_NONBLOCK), 0, [f"seed {seed}"]
        try:
            for _ in range(CALLS):
                name = rng.choice(("other_writes", "read", "read", "pread64", "lseek", "ioctl"))
                if name == "other_writes" and written == CELLS:
                    continue  # the model holds no more
                written += name == "other_writes"
                words = {"n": rng.randint(0, CHUNK), "offset": rng.randint(0, 2), "whence": rng.randint(0, 2)}
                words["byte"] = rng.randint(1, 7)
                there, here = real(name, ends, words), modelled(m, slot, name, words)
                told.append(f"{name} {words}: {there}, in the model {here}")
                assert there == here, "\n".join(told)
        finally:
            for end in ends:
                os.close(end)

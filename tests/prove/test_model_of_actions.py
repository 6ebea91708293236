"""What the model says of the actions of signals, against the real kernel."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import signal
import struct
import sys
from typing import Any

from peephole.prove.language import load_rule
from peephole.prove.model.alphabet import ACTIONS, random_call
from peephole.prove.model.kernel import Call, perform
from peephole.prove.model.machine import ACTION, Machine, Oracle, start_state

SEED = 20261128
SEQUENCES = 300
CALLS = 25
SIGACTION, KILL = 13, 1 << (signal.SIGKILL - 1)
SIGNALS = (signal.SIGUSR2, signal.SIGURG, 99)
RESTART, NODEFER, RESETHAND, RESTORER, UNKNOWN = 0x10000000, 0x40000000, 0x80000000, 0x04000000, 1 << 20
#: four handlers that count, and two that return from them, as the kernel calls them
COUNT = b"\xf0\xff\x05"  # lock incl disp32(%rip)
RETURN = b"\xb8\x0f\x00\x00\x00\x0f\x05"  # mov $15, %eax; syscall


class _Real:
    """The signals of this process."""

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self.at = ctypes.addressof(ctypes.c_char.from_buffer(self.page))
        for i in range(2):
            self.page[64 * i : 64 * i + 8] = COUNT + struct.pack("<i", 1024 + 4 * i - 64 * i - 7) + b"\xc3"
            self.page[512 + 64 * i : 512 + 64 * i + 7] = RETURN
        self.handlers = (0, 1, self.at, self.at + 64)
        self.restorers = (self.at + 512, self.at + 576)
        self.room = ctypes.create_string_buffer(32)
        for number in SIGNALS[:2]:
            self._action(number, bytes(32))

    def _action(self, number: int, act: bytes) -> None:
        assert self.libc.syscall(SIGACTION, number, ctypes.create_string_buffer(act, 32), 0, 8) == 0

    def runs(self) -> list[int]:
        return list(struct.unpack("<2i", self.page[1024:1032]))

    def sigaction(self, call: Call) -> tuple[int, dict[str, Any]]:
        """The result, and the old action in the model's numbers."""
        options: int = call["options"]
        flags = RESTORER | (options & 1 and RESTART) | (options & 2 and NODEFER) | (options & 4 and RESETHAND)
        flags = UNKNOWN | RESTORER if call["act"] == 3 else flags
        mask = (call["held"] & 3) << (signal.SIGUSR1 - 1) | (call["held"] & 4 and KILL)
        packed = struct.pack("<4Q", self.handlers[call["handler"]], flags, self.restorers[call["restorer"]], mask)
        given = ctypes.create_string_buffer(packed, 32)
        place = {0: None, 1: given, 2: ctypes.c_void_p(8), 3: given}[call["act"]]
        over = ctypes.c_void_p(8) if call["act"] == 2 else given
        old = {0: None, 1: self.room, 2: ctypes.c_void_p(8), 3: over}[call["old"]]
        r = self.libc.syscall(SIGACTION, int(SIGNALS[call["signal"]]), place, old, call["bytes"])
        if r < 0 or call["old"] in (0, 2):
            return (-ctypes.get_errno() if r < 0 else r), {}
        return r, self._told((self.room if call["old"] == 1 else given).raw)

    def _told(self, raw: bytes) -> dict[str, Any]:
        handler, flags, restorer, mask = struct.unpack("<4Q", raw)
        options = bool(flags & RESTART) + 2 * bool(flags & NODEFER) + 4 * bool(flags & RESETHAND)
        parts = (
            self.handlers.index(handler),
            options,
            int(restorer == self.restorers[1]),
            mask >> (signal.SIGUSR1 - 1) & 3,
        )
        assert not mask & KILL
        return {f"old.{name}": value for name, value in zip(ACTION, parts, strict=True)}


def _sequence(seed: int) -> str:
    """Run one sequence on both sides; gives what differs, or nothing."""
    rng, real = random.Random(seed), _Real()
    m = Machine(start_state(load_rule("repeat_setting")))
    told = [f"seed {seed}"]
    for _ in range(CALLS):
        call = random_call(rng, rng.choice([s for s in ACTIONS if s.name != "exec_begins"]), m)
        j = call["signal"]
        number = int(SIGNALS[j])
        m.out, before = {}, real.runs()
        if call.name != "rt_sigaction":
            deadly = j == 0 and m.state["t.act0.handler"] == 0
            held = number in signal.pthread_sigmask(signal.SIG_BLOCK, [])
            if j > 1 or (call.name == "signal_comes" and (deadly or held)):
                continue
        result: Any = perform(m, call, Oracle())
        if call.name == "rt_sigaction":
            got, out = real.sigaction(call)
            same = result == got and (got < 0 or call["old"] == 0 or out == m.out)
        elif call.name == "signal_comes":
            os.kill(os.getpid(), number)
            out, ran = {}, m.out["runs"]
            same = [a - b for a, b in zip(real.runs(), before, strict=True)] == [int(ran == 2), int(ran == 3)]
        else:
            signal.pthread_sigmask(signal.SIG_BLOCK, [number])
            os.kill(os.getpid(), number)
            got, out, same = 0, {}, True
        waits = [s in signal.sigpending() for s in SIGNALS[:2]]
        told.append(f"{call}: model {result} {m.out} {waits}, kernel {got if call.name == 'rt_sigaction' else 0} {out}")
        if not same or waits != [m.state[f"t.act{k}.waits"] for k in range(2)]:
            return "\n".join(told)
    return ""


def test_actions_of_signals_follow_the_model() -> None:
    print(f"seed {SEED}")
    for number in range(SEQUENCES):
        pid = os.fork()
        if pid == 0:
            wrong = "the sequence was not run to its end"
            try:
                wrong = _sequence(SEED + number)
            finally:
                print(wrong, flush=True)
                os._exit(1 if wrong else 0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, f"seed {SEED + number}"


def test_the_next_program_has_the_actions_that_the_model_says() -> None:
    asks = (
        "import ctypes; room = ctypes.create_string_buffer(32); libc = ctypes.CDLL(None);"
        "print([(libc.syscall(13, s, None, room, 8), room.raw.hex())[1] for s in (12, 23)])"
    )
    sets = {"act": 1, "old": 0, "bytes": 8, "options": 1, "restorer": 1, "held": 3}
    calls = [Call("rt_sigaction", words=sets | {"signal": j, "handler": handler}) for j, handler in ((0, 2), (1, 1))]
    reader, writer = os.pipe()
    if os.fork() == 0:
        real = _Real()
        for call in calls:
            assert real.sigaction(call)[0] == 0
        os.dup2(writer, 1)
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", asks])
    os.wait()
    m = Machine(start_state(load_rule("repeat_setting")))
    for call in [*calls, Call("exec_begins")]:
        assert perform(m, call, Oracle()) == 0
    parts = [[m.state[f"t.act{j}.{part}"] for part in ACTION] for j in range(2)]
    assert parts == [[0, 0, 0, 0], [1, 0, 0, 0]]
    assert os.read(reader, 4096).decode().strip() == str(["00" * 32, "01" + "00" * 31])

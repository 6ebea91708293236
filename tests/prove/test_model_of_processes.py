"""What the model says of a process and its threads, against the real kernel."""

from __future__ import annotations

import ctypes
import os
import queue
import random
import threading
from typing import Any

import pytest

from peephole.prove.language import load_rule
from peephole.prove.model.alphabet import PROCESS, random_call
from peephole.prove.model.kernel import Call, perform
from peephole.prove.model.machine import Machine, Oracle, start_state

SEED = 20260701
SEQUENCES = 60
CALLS = 25
_NUMBERS = {
    "getpid": 39, "umask": 95, "getuid": 102, "getgid": 104, "setuid": 105, "setgid": 106, "geteuid": 107,
    "getegid": 108, "setreuid": 113, "setregid": 114, "setresuid": 117, "setresgid": 119,
}  # fmt: skip


class _Thread:
    """A thread that makes raw system calls when told to."""

    def __init__(self, libc: Any) -> None:
        self.asked: queue.Queue[Any] = queue.Queue()
        self.said: queue.Queue[int] = queue.Queue()
        threading.Thread(target=self._run, args=(libc,), daemon=True).start()

    def _run(self, libc: Any) -> None:
        while True:
            r = libc.syscall(*self.asked.get())
            self.said.put(-ctypes.get_errno() if r < 0 else r)

    def make(self, *words: int) -> int:
        self.asked.put(words)
        return self.said.get(timeout=10)


def _words(call: Call) -> list[int]:
    times = {"setreuid": 2, "setregid": 2, "setresuid": 3, "setresgid": 3}.get(call.name, 1)
    return [call["id"]] * times if "id" in call.words else []


def _sequence(seed: int) -> str:
    """Run one sequence on both sides, in this process; gives what differs, or nothing."""
    rng = random.Random(seed)
    libc = ctypes.CDLL(None, use_errno=True)
    threads = [_Thread(libc), _Thread(libc)]
    m = Machine(start_state(load_rule("memo_identity")))
    m.state["t.pid"], m.state["t.mask"] = os.getpid(), 0
    os.umask(0)
    root = {"uid": [True, True], "gid": [True, True]}
    told = [f"seed {seed}"]
    for _ in range(CALLS):
        shape = rng.choice([s for s in PROCESS if s.name in _NUMBERS])
        call = random_call(rng, shape, m)
        t = call.words.get("thread", 0)
        if shape.name[:3] == "set":
            # Capabilities go with the last user that is root: from then on a call may be refused.
            if not root["uid"][t]:
                continue
            root["uid"][t] = not (shape.name.endswith("uid") and call["id"] != 0)
        result = perform(m, call, Oracle())
        got = threads[t].make(_NUMBERS[call.name], *_words(call))
        told.append(f"thread {t}: {call.name} {_words(call)}: model {result}, kernel {got}")
        if result != got:
            return "\n".join(told)
    return ""


@pytest.mark.root
def test_who_a_thread_is_follows_the_model() -> None:
    if os.geteuid() != 0:
        pytest.skip("setting users needs root")
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


def test_a_forks_child_has_another_number() -> None:
    m = Machine(start_state(load_rule("memo_identity")))
    m.state["t.pid"] = os.getpid()
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, str(os.getpid()).encode())
        os._exit(0)
    child = int(os.read(reader, 20))
    os.wait()
    perform(m, Call("fork_child", words={"thread": 0, "id": child, "placed": False}), Oracle())
    assert perform(m, Call("getpid"), Oracle()) == child != os.getpid()


def test_a_sleep_whose_time_cannot_be_read_fails_as_in_the_model() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    m = Machine(start_state(load_rule("short_poll")))
    for name, words in (("nanosleep", (35, 8, 0)), ("clock_nanosleep", (230, 1, 0, 8, 0))):
        r = libc.syscall(*words)
        call = Call(name, words={"n": 1, "row": 0, "absolute": 0})
        assert (-ctypes.get_errno() if r < 0 else r) == perform(m, call, Oracle())

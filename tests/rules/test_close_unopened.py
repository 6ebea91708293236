"""Closes of what is not open: what is open stays what it is, whoever opened it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from peephole.improve.arm import arm

PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
BEGIN = """
import os, signal, socket, threading
def sweep(first, last):
    closed = []
    for fd in range(first, last):
        try:
            os.close(fd)
            closed.append(fd)
        except OSError:
            pass
    return closed
sweep(3, 200)
"""
CASES = {
    "a pipe": "made = os.pipe()",
    "far away": "made = [os.dup2(0, 900)]",
    "beyond what is followed": "made = [os.dup2(0, 5000)]",
    "in a handler": """
made = []
signal.signal(signal.SIGALRM, lambda *_: made.append(os.dup2(0, 950)))
signal.setitimer(signal.ITIMER_REAL, 0.05)
while not made:
    sweep(3, 900)
signal.signal(signal.SIGALRM, signal.SIG_DFL)
""",
    "in another thread": """
made = []
t = threading.Thread(target=lambda: made.append(os.dup2(0, 800)))
t.start()
t.join()
""",
    "received": """
a, b = socket.socketpair()
socket.send_fds(a, [b"x"], [0])
made = [socket.recv_fds(b, 1, 1)[1][0], a.detach(), b.detach()]
""",
    "in a child": """
made = [os.dup2(0, 700)]
if os.fork() == 0:
    assert sweep(3, 6000) == [700]
    os._exit(0)
assert os.wait()[1] == 0
""",
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_open_is_closed(case: str) -> None:
    code = f"{BEGIN}{CASES[case]}\nprint(sorted(made) == sweep(3, 6000), sweep(3, 6000) == [])"
    with arm(["close_unopened"]) as armed:
        words = ["sh", "-c", 'ulimit -n 8000; exec "$@"', "sh", PYTHON, "-I", "-S", "-c", code]
        done = subprocess.run(
            words,
            env=armed.environment(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        hits = armed.stats()["rules"]["close_unopened"]["hits"]
    assert done.stdout == "True True\n", done.stderr
    assert hits >= 100

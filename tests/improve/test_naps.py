"""short_poll on a real program: what counts as a sleep in a row."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from peephole.improve.arm import arm

BETWEEN = {"nothing": "pass", "a call": "os.getppid() if False else os.stat('/')", "another sleep": "libc.usleep(300)"}
PROGRAM = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
for _ in range(200):
    libc.usleep(200)
    {between}
"""


@pytest.mark.parametrize("what", sorted(BETWEEN))
def test_only_equal_sleeps_with_nothing_between_are_in_a_row(what: str, tmp_path: Path) -> None:
    script = tmp_path / "sleeps.py"
    script.write_text(PROGRAM.format(between=BETWEEN[what]))
    with arm(["short_poll"]) as armed:
        subprocess.run([sys.executable, script], env=armed.environment(os.environ), check=True, timeout=60)
        hits = armed.stats()["rules"]["short_poll"]["hits"]
    assert (hits >= 150) if what == "nothing" else (hits == 0)


KEEPS = """
import ctypes, os, signal, time
signal.signal(signal.SIGINT, signal.SIG_DFL)
libc = ctypes.CDLL(None)
begin = time.monotonic()
for _ in range(5):
    libc.usleep(20000)
    os.stat("/")
assert time.monotonic() - begin >= 0.1, time.monotonic() - begin
"""


def test_a_first_sleep_is_made_up_for_before_another_call(tmp_path: Path) -> None:
    script = tmp_path / "keeps.py"
    script.write_text(KEEPS)
    with arm(["short_poll"]) as armed:
        subprocess.run([sys.executable, script], env=armed.environment(os.environ), check=True, timeout=60)
        assert armed.stats()["rules"]["short_poll"]["hits"] == 0


ALARM = """
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.05)
print(libc.usleep(2000000), os.strerror(ctypes.get_errno()))
"""


def test_a_sleep_that_a_handler_can_end_is_ended_by_it(tmp_path: Path) -> None:
    script = tmp_path / "alarm.py"
    script.write_text(ALARM)
    with arm(["short_poll"]) as armed:
        said = subprocess.check_output(
            [sys.executable, script], env=armed.environment(os.environ), timeout=60, text=True
        )
    assert said == "-1 Interrupted system call\n"

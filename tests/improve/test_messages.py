"""Descriptors that leave in messages: only those are shared from then on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from peephole.improve.arm import arm

TALKS = """
import array, os, socket, sys
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
other = os.open("/dev/null", os.O_RDONLY)
here, there = socket.socketpair()
def send(*descriptors):
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    here.sendmsg([b"."], control)
for i in range(100):
    os.write(file, b"x")
    send(*([other] if i % 2 else []))
"""
PASSES = """
here, there = socket.socketpair()
send(other, file)
taken = array.array("i")
taken.frombytes(there.recvmsg(1, 100)[1][0][2])
os.write(taken[1], b"y")
os.write(file, b"z")
os.write(taken[1], b"!")
"""


def hits(script: Path, out: Path) -> int:
    with arm(["coalesce_writes"]) as armed:
        env = armed.environment(os.environ)
        subprocess.run([sys.executable, script, out], env=env, check=True, timeout=60)
        return int(armed.stats()["rules"]["coalesce_writes"]["hits"])


def test_a_message_that_carries_other_descriptors_takes_no_state_away(tmp_path: Path) -> None:
    script, out = tmp_path / "talks.py", tmp_path / "out"
    script.write_text(TALKS)
    assert hits(script, out) >= 100
    assert out.read_bytes() == b"x" * 100


def test_a_descriptor_that_was_sent_is_not_handled_any_more(tmp_path: Path) -> None:
    script, out = tmp_path / "passes.py", tmp_path / "out"
    script.write_text(TALKS + PASSES)
    assert 100 <= hits(script, out) < 103
    assert out.read_bytes() == b"x" * 100 + b"yz!"
